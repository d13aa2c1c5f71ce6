//! Standard output, which carries the data that a command prints.

/// Prints one line.
#[expect(
    clippy::print_stdout,
    reason = "the data that the command is asked for"
)]
pub(super) fn print(line: &str) {
    println!("{line}");
}
