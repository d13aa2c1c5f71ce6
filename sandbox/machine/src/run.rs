//! Runs a program to its end and reports how it failed. Starts processes; not for use in the init
//! process, where one thread reaps every child.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use crate::error::{Attempt, Error, Result, last_lines};

/// How many lines of a failed program's output an error carries.
pub const TAIL: usize = 15;

/// Runs a command and returns what it printed on standard output.
pub fn output(command: &mut Command) -> Result<String> {
    let name = describe(command);
    let output = command
        .stdin(Stdio::null())
        .output()
        .attempt(|| format!("starting {name}"))?;
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(printed);
    }
    let everything = printed + &String::from_utf8_lossy(&output.stderr);
    Err(Error::Command {
        what: name,
        why: output.status.to_string(),
        tail: last_lines(&everything, TAIL),
    })
}

/// Program name and arguments, shortened, for messages.
pub fn describe(command: &Command) -> String {
    let program = Path::new(command.get_program())
        .file_name()
        .unwrap_or(command.get_program());
    let mut text = program.to_string_lossy().into_owned();
    for arg in command.get_args() {
        text.push(' ');
        text.push_str(&arg.to_string_lossy());
        if text.len() > 160 {
            text.truncate(text.floor_char_boundary(160));
            text.push('…');
            break;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_carries_the_command_its_status_and_the_end_of_its_output() {
        let error = output(Command::new("/bin/sh").args(["-c", "echo out; echo err >&2; exit 3"]));
        assert_eq!(
            error.unwrap_err().to_string(),
            "sh -c echo out; echo err >&2; exit 3: exit status: 3\n    out\n    err"
        );
    }

    #[test]
    fn success_returns_what_was_printed() {
        assert_eq!(
            output(Command::new("/bin/echo").arg("hello")).unwrap(),
            "hello\n"
        );
    }
}
