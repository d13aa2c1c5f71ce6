//! How the commands for people print. Writes to standard output.

use std::io::Write as _;

use anyhow::Context as _;
use clap::ValueEnum;

/// The maximum width of a line of wrapped text, in characters.
pub const WIDTH: usize = 100;

/// How something is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Table,
    /// For programs: a JSON object. What is unknown is absent.
    Json,
}

/// Breaks a text between words into lines of at most `width` characters.
pub fn wrapped(text: &str, indent: &str, width: usize) -> Vec<String> {
    let options = textwrap::Options::new(width)
        .initial_indent(indent)
        .subsequent_indent(indent)
        .break_words(false)
        .word_splitter(textwrap::WordSplitter::NoHyphenation);
    let lines = textwrap::wrap(text, options).into_iter();
    lines.map(std::borrow::Cow::into_owned).collect()
}

/// Prints to standard output.
pub fn print(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .context("cannot write to standard output")
}
