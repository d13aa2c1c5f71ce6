//! Forwards ports of the machine to ports inside a sandbox's network namespace. Network I/O. As
//! root, a separate thread enters the namespace for each connection; otherwise a unix socket in the
//! file system leads into it.

use std::{
    fs::File,
    io::{self, Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    os::{
        fd::AsFd,
        unix::net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::Duration,
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::error::{Attempt, Result};

/// How long a connection inside may take to be accepted.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The target of a forwarded connection.
#[derive(Debug, Clone)]
pub(crate) enum Target {
    /// A loopback port in a network namespace that is held open.
    Inside(Arc<File>, u16),
    /// A loopback port here.
    Port(u16),
    /// A unix socket.
    Socket(PathBuf),
}

/// The network namespace of a process, held open.
pub(crate) fn namespace_of(pid: i32) -> Result<Arc<File>> {
    let file = format!("/proc/{pid}/ns/net");
    File::open(&file)
        .map(Arc::new)
        .attempt(|| format!("opening {file}"))
}

/// Listens on a free port of an address in a network namespace. The listener stays there, whoever
/// serves it.
pub(crate) fn listen_inside(namespace: &Arc<File>, address: Ipv4Addr) -> Result<TcpListener> {
    let namespace = Arc::clone(namespace);
    let listening = thread::spawn(move || {
        // Only this thread enters the namespace.
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
        TcpListener::bind((address, 0))
    });
    let bound = listening.join().unwrap_or_else(|_| {
        Err(io::Error::other(
            "the thread that enters the namespace failed",
        ))
    });
    bound.attempt(|| format!("listening on {address} inside the sandbox"))
}

/// Serves a TCP listener for ever: each connection gets one to the target.
pub(crate) fn serve(listener: TcpListener, target: Target) {
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            pass_on(stream, target.clone());
        }
    });
}

/// Serves a unix socket for ever: each connection gets one to the target.
pub(crate) fn serve_socket(socket: &Path, target: Target) -> Result<()> {
    let listener =
        UnixListener::bind(socket).attempt(|| format!("listening on {}", socket.display()))?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            pass_on(stream, target.clone());
        }
    });
    Ok(())
}

fn pass_on(stream: impl Stream, target: Target) {
    // Without a new thread the connection just closes, as it does when nothing listens at the
    // target.
    drop(thread::Builder::new().spawn(move || match target {
        Target::Inside(namespace, port) => {
            // The namespace is this thread's alone; a connection keeps the one that it was made in.
            let entered =
                move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network));
            if let Ok(inside) = entered
                .map_err(io::Error::from)
                .and_then(|()| connect(port))
            {
                join(stream, inside);
            }
        }
        Target::Port(port) => {
            if let Ok(there) = connect(port) {
                join(stream, there);
            }
        }
        Target::Socket(socket) => {
            if let Ok(there) = UnixStream::connect(socket) {
                join(stream, there);
            }
        }
    }));
}

fn connect(port: u16) -> io::Result<TcpStream> {
    TcpStream::connect_timeout(
        &SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
        CONNECT_TIMEOUT,
    )
}

/// What TCP and unix streams have in common here.
trait Stream: Read + Write + Send + Sized + 'static {
    fn prepare(&self) -> io::Result<Self>;
    fn end(&self, how: Shutdown);
}

impl Stream for TcpStream {
    fn prepare(&self) -> io::Result<Self> {
        // Requests and answers are small: waiting to fill packets would only add latency.
        self.set_nodelay(true)?;
        self.try_clone()
    }

    fn end(&self, how: Shutdown) {
        self.shutdown(how).ok();
    }
}

impl Stream for UnixStream {
    fn prepare(&self) -> io::Result<Self> {
        self.try_clone()
    }

    fn end(&self, how: Shutdown) {
        self.shutdown(how).ok();
    }
}

fn join(one: impl Stream, other: impl Stream) {
    if let (Ok(one_reader), Ok(other_writer)) = (one.prepare(), other.prepare()) {
        thread::spawn(move || copy(one_reader, other_writer));
        copy(other, one);
    }
}

/// Copies until one side ends, and shuts down the other. An error counts as an end.
fn copy(mut from: impl Stream, mut to: impl Stream) {
    io::copy(&mut from, &mut to).ok();
    to.end(Shutdown::Write);
    from.end(Shutdown::Read);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_directions_and_their_ends_pass_through_a_socket_and_a_port() {
        let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = server.local_addr().unwrap().port();
        thread::spawn(move || {
            let (mut stream, _) = server.accept().unwrap();
            let mut asked = String::new();
            // Ends only if the end of the question arrives.
            stream.read_to_string(&mut asked).unwrap();
            stream
                .write_all(format!("{asked} answered").as_bytes())
                .unwrap();
        });
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("forward.sock");
        serve_socket(&socket, Target::Port(port)).unwrap();
        let front = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = front.local_addr().unwrap();
        serve(front, Target::Socket(socket));
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(b"asked").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "asked answered");
    }
}
