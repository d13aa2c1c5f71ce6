//! The linker that cargo is given: the compiler's own, told in which order to lay the functions down. What a worker needs
//! to wait for tasks comes first, what it needs to run them second, then the rest. The system brings a program into memory
//! in pieces of 64 KB, so a function that runs among a dozen that never do costs as much as all of them.
//!
//! Functions get their last names when the parts of the program are optimised together, so only who sees what is linked
//! can name them.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use crate::counts;

/// The counts of workers that wait, each in its place, as a list of paths.
const WAITING: &str = "ORDER_WORKER_LINK_WAITING";
/// The counts of all workers.
const ALL: &str = "ORDER_WORKER_LINK_ALL";

/// What cargo has to be told to link with this program.
pub(crate) fn configuration(waiting: &[PathBuf], all: &Path) -> [String; 3] {
    let program = std::env::current_exe().unwrap();
    let waiting = std::env::join_paths(waiting).unwrap();
    [
        format!("env.{WAITING}={:?}", waiting.display().to_string()),
        format!("env.{ALL}={:?}", all.display().to_string()),
        format!(
            "target.x86_64-unknown-linux-musl.linker={:?}",
            program.display().to_string()
        ),
    ]
}

/// Links, if that is what this program was started for.
pub(crate) fn link() -> Option<ExitCode> {
    let waiting: Vec<_> = std::env::split_paths(&std::env::var_os(WAITING)?)
        .map(|profile| counts::functions(&profile))
        .collect();
    let all = counts::functions(Path::new(&std::env::var_os(ALL)?));
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let objects: Vec<&Path> = arguments
        .iter()
        .map(Path::new)
        .filter(|argument| argument.extension().is_some_and(|end| end == "o"))
        .collect();
    let output = arguments
        .iter()
        .skip_while(|argument| *argument != "-o")
        .nth(1)
        .expect("a linker is told where to write");
    let order = Path::new(output).with_extension("order");
    let functions = counts::defined(&objects);
    std::fs::write(&order, laid_down(&functions, &waiting, &all).join("\n")).unwrap();
    let status = Command::new("cc")
        .args(&arguments)
        .arg("-fuse-ld=lld")
        .arg(option("-B", counts::tools().join("gcc-ld")))
        .arg(option("-Wl,--symbol-ordering-file=", order))
        // Not all are left when what is never called is left out.
        .arg("-Wl,--no-warn-symbol-ordering")
        .status()
        .unwrap();
    Some(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn option(name: &str, value: impl AsRef<OsStr>) -> OsString {
    let mut option = OsString::from(name);
    option.push(value);
    option
}

/// What was not counted, which is the standard library; what runs while a worker waits in the first place, then what else
/// runs in the next; what runs while it works.
fn laid_down<'a>(
    functions: &'a [String],
    waiting: &[HashMap<String, bool>],
    all: &HashMap<String, bool>,
) -> Vec<&'a str> {
    let place = |function: &str| {
        // One that has become known to other parts of the program has got an ending for it.
        let name = function.split(".llvm.").next().unwrap_or(function);
        if !all.contains_key(name) {
            return Some(0);
        }
        let runs = |counts: &HashMap<String, bool>| counts.get(name) == Some(&true);
        // From 1 on.
        (1..)
            .zip(waiting.iter().chain([all]))
            .find_map(|(place, counts)| runs(counts).then_some(place))
    };
    let mut placed: Vec<(usize, &str)> = functions
        .iter()
        .filter_map(|function| Some((place(function)?, function.as_str())))
        .collect();
    placed.sort_by_key(|(place, _)| *place);
    placed.into_iter().map(|(_, function)| function).collect()
}
