//! Standard output, which holds the data that a command prints.

#[expect(
    clippy::print_stdout,
    reason = "the data that the command is asked for"
)]
/// Prints one line.
pub(super) fn print(line: &str) {
    println!("{line}");
}
