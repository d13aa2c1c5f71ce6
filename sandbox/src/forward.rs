//! Connects loopback ports of the machine with ports inside a sandbox's network namespace. Network I/O; the connecting
//! threads enter the namespace, the listening ones stay outside.

use std::{
    fs::File,
    io,
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    os::fd::AsFd,
    sync::Arc,
    thread,
    time::Duration,
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::error::{Attempt, Result};

/// How long a connection inside may take to be accepted.
const PATIENCE: Duration = Duration::from_secs(5);

/// The network namespace of a process, held open.
pub(crate) fn namespace_of(pid: i32) -> Result<Arc<File>> {
    let file = format!("/proc/{pid}/ns/net");
    File::open(&file)
        .map(Arc::new)
        .attempt(|| format!("opening {file}"))
}

/// Serves one listener for ever: each connection gets one to `port` inside the namespace.
pub(crate) fn serve(listener: TcpListener, namespace: Arc<File>, port: u16) {
    thread::spawn(move || {
        for outside in listener.incoming().flatten() {
            let namespace = Arc::clone(&namespace);
            // Without a new thread the connection just closes, as it does when nothing listens inside.
            drop(thread::Builder::new().spawn(move || {
                // The namespace is this thread's alone; a connection keeps the one that it was made in.
                if let Ok(inside) = connect(&namespace, port) {
                    join(outside, inside);
                }
            }));
        }
    });
}

fn connect(namespace: &File, port: u16) -> io::Result<TcpStream> {
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    TcpStream::connect_timeout(&address, PATIENCE)
}

fn join(outside: TcpStream, inside: TcpStream) {
    // Requests and answers are small: waiting to fill packets would only add latency.
    drop(outside.set_nodelay(true));
    drop(inside.set_nodelay(true));
    let (Ok(outside_reader), Ok(inside_writer)) = (outside.try_clone(), inside.try_clone()) else {
        return;
    };
    thread::spawn(move || copy(outside_reader, inside_writer));
    copy(inside, outside);
}

/// Copies until one side ends, and passes the end on. An error means the same as an end.
fn copy(mut from: TcpStream, mut to: TcpStream) {
    drop(io::copy(&mut from, &mut to));
    drop(to.shutdown(Shutdown::Write));
    drop(from.shutdown(Shutdown::Read));
}
