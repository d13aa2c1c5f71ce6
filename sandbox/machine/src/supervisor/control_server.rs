//! Serves control requests on a unix socket in the init process, one thread per connection.

use std::{
    io::{BufRead, BufReader, Write},
    os::unix::net::{UnixListener, UnixStream},
    path::Path,
    sync::{Arc, mpsc::Sender},
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;

use crate::{
    components::Stop,
    error::{Attempt, Result},
    status::Phase,
    supervisor::{
        component_states::ComponentStates,
        control_client::{Action, Request, Response},
        reaper::{Reaper, kill},
    },
};

/// How long a component may take to end when asked, before it is killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(8);
/// How long a component may take until it answers.
const START_TIMEOUT: Duration = Duration::from_mins(2);

/// Starts to listen.
pub(super) fn serve(
    socket: &Path,
    components: &Arc<ComponentStates>,
    reaper: &Arc<Reaper>,
    end: Sender<()>,
) -> Result<()> {
    let listener =
        UnixListener::bind(socket).attempt(|| format!("listening on {}", socket.display()))?;
    let (components, reaper) = (Arc::clone(components), Arc::clone(reaper));
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (components, reaper, end) =
                (Arc::clone(&components), Arc::clone(&reaper), end.clone());
            thread::spawn(move || {
                // A caller that went away before its answer has no use for an error.
                drop(answer(stream, &components, &reaper, &end));
            });
        }
    });
    Ok(())
}

fn answer(
    mut stream: UnixStream,
    components: &ComponentStates,
    reaper: &Reaper,
    end: &Sender<()>,
) -> std::io::Result<()> {
    let mut line = String::new();
    BufReader::new(stream.try_clone()?).read_line(&mut line)?;
    let result = match serde_json::from_str::<Request>(&line) {
        Ok(Request::End) => Ok(()),
        Ok(Request::Component {
            name,
            action,
            arguments,
        }) => carry_out(components, reaper, &name, action, arguments),
        Err(error) => Err(format!("not a request: {error}")),
    };
    let response = serde_json::to_string(&Response {
        error: result.err(),
    })?;
    stream.write_all(response.as_bytes())?;
    stream.write_all(b"\n")?;
    if line.trim() == "\"end\"" {
        // Ending twice is one end.
        end.send(()).ok();
    }
    Ok(())
}

fn carry_out(
    components: &ComponentStates,
    reaper: &Reaper,
    name: &str,
    action: Action,
    arguments: Vec<String>,
) -> Result<(), String> {
    let Some(status) = components.component(name) else {
        return Err(format!(
            "there is no component {name:?}; the components are {}",
            components.names().join(", ")
        ));
    };
    match action {
        Action::Stop => stop(components, name),
        Action::Start => start(components, name, arguments),
        Action::Restart => stop(components, name).and_then(|()| start(components, name, arguments)),
        Action::Kill | Action::Pause | Action::Resume => {
            let pid = status.pid.ok_or_else(|| format!("{name} has no process"))?;
            if reaper.has_ended(pid) {
                return Err(format!("{name} has just exited"));
            }
            signal(components, name, pid, action);
            Ok(())
        }
    }
}

fn signal(components: &ComponentStates, name: &str, pid: i32, action: Action) {
    match action {
        Action::Pause => {
            kill(pid, Signal::STOP);
            components.set(name, |status| status.phase = Phase::Paused);
        }
        Action::Resume => {
            kill(pid, Signal::CONT);
            components.set(name, |status| {
                if status.phase == Phase::Paused {
                    status.phase = Phase::Ready;
                }
            });
        }
        _ => {
            kill(pid, Signal::KILL);
            // The next status must not show the process that has ended.
            components.wait_until(name, Instant::now() + STOP_TIMEOUT, |status| {
                status.pid != Some(pid)
            });
        }
    }
}

fn stop(components: &ComponentStates, name: &str) -> Result<(), String> {
    components.want(name, false);
    let no_process = |status: &crate::status::ComponentStatus| status.pid.is_none();
    if let Some(pid) = components.component(name).and_then(|status| status.pid) {
        ask_to_stop(pid, components.stop_of(name));
        let left = components.wait_until(name, Instant::now() + STOP_TIMEOUT, no_process);
        if let Some(pid) = left.and_then(|status| status.pid) {
            kill(pid, Signal::KILL);
        }
    }
    let stopped = components.wait_until(name, Instant::now() + STOP_TIMEOUT, |status| {
        status.phase == Phase::Stopped && status.pid.is_none()
    });
    match stopped {
        Some(status) if status.phase == Phase::Stopped => Ok(()),
        // There was nothing to stop.
        Some(status) if status.phase == Phase::Absent => Ok(()),
        _ => Err(format!("{name} did not stop")),
    }
}

/// Signals a process to end, and resumes it, since a frozen process would not react.
pub(super) fn ask_to_stop(pid: i32, stop: Stop) {
    let signal = match stop {
        Stop::Terminate => Signal::TERM,
        Stop::Interrupt => Signal::INT,
    };
    kill(pid, signal);
    kill(pid, Signal::CONT);
}

fn start(components: &ComponentStates, name: &str, arguments: Vec<String>) -> Result<(), String> {
    components.set_arguments(name, arguments);
    // Forget a missing program or an earlier failure.
    components.set(name, |status| {
        if matches!(status.phase, Phase::Absent | Phase::Failed) {
            status.phase = Phase::Waiting;
        }
    });
    components.want(name, true);
    let status = components.wait_until(name, Instant::now() + START_TIMEOUT, |status| {
        matches!(status.phase, Phase::Ready | Phase::Failed | Phase::Absent)
    });
    match status {
        Some(status) if status.phase == Phase::Ready => Ok(()),
        Some(status) => Err(format!("{name} is not ready: {}", status.message)),
        None => Err(format!("{name} is not ready")),
    }
}
