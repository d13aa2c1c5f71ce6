//! When output is colored, and what the colors mean. Pure, but for reading the environment. A color
//! only underlines what the text says as well.

use clap::ValueEnum;
use crossterm::style::{Stylize as _, force_color_output};

/// When output is colored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// On a terminal, unless NO_COLOR is set or TERM is dumb.
    #[default]
    Auto,
    /// Also into a file or a pipe.
    Always,
    /// Nowhere.
    Never,
}

impl Color {
    /// The ink for standard output, which is a `terminal` or not.
    pub fn ink(self, terminal: bool) -> Ink {
        self.ink_in(terminal, |name| std::env::var(name).ok())
    }

    fn ink_in(self, terminal: bool, variable: impl Fn(&str) -> Option<String>) -> Ink {
        let wanted = match self {
            Self::Always => true,
            Self::Never => false,
            Self::Auto => {
                let refused = variable("NO_COLOR").is_some_and(|value| !value.is_empty());
                let dumb = variable("TERM").as_deref() == Some("dumb");
                terminal && !refused && !dumb
            }
        };
        if wanted { Ink::colored() } else { Ink::PLAIN }
    }
}

/// What a mark means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// A head: bold.
    Head,
    /// Something is over its target: red.
    Over,
    /// Something holds back: yellow.
    Held,
    /// Less important than the rest: dim.
    Quiet,
}

/// Marks text, or leaves it as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ink {
    colored: bool,
}

impl Ink {
    /// Leaves text as it is.
    pub const PLAIN: Self = Self { colored: false };

    /// Marks text.
    pub fn colored() -> Self {
        // The library heeds NO_COLOR by itself, which `--color always` overrules.
        force_color_output(true);
        Self { colored: true }
    }

    /// Whether it marks text.
    pub fn is_colored(self) -> bool {
        self.colored
    }

    /// The text in a tone.
    pub fn mark(self, tone: Tone, text: &str) -> String {
        if !self.colored {
            return text.to_owned();
        }
        let marked = match tone {
            Tone::Head => text.bold(),
            Tone::Over => text.red(),
            Tone::Held => text.yellow(),
            Tone::Quiet => text.dim(),
        };
        marked.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A choice, whether there is a terminal, the variables, and whether there are colors.
    type Case = (Color, bool, &'static [(&'static str, &'static str)], bool);

    #[test]
    fn the_flag_goes_before_the_environment_and_the_environment_before_the_terminal() {
        let colored = |color: Color, terminal, variables: &[(&str, &str)]| {
            let value = |name: &str| {
                let mut found = variables.iter().filter(|(other, _)| *other == name);
                found.next().map(|(_, value)| (*value).to_owned())
            };
            color.ink_in(terminal, value).is_colored()
        };
        let table: [Case; 8] = [
            (Color::Auto, true, &[("TERM", "xterm")], true),
            (Color::Auto, true, &[], true),
            (Color::Auto, true, &[("NO_COLOR", "")], true),
            (Color::Auto, true, &[("NO_COLOR", "1")], false),
            (Color::Auto, true, &[("TERM", "dumb")], false),
            (Color::Auto, false, &[], false),
            (
                Color::Always,
                false,
                &[("NO_COLOR", "1"), ("TERM", "dumb")],
                true,
            ),
            (Color::Never, true, &[], false),
        ];
        for (color, terminal, variables, expected) in table {
            assert_eq!(
                colored(color, terminal, variables),
                expected,
                "{color:?} {terminal} {variables:?}"
            );
        }
    }

    #[test]
    fn marks_end_where_the_text_ends() {
        assert_eq!(Ink::PLAIN.mark(Tone::Over, "6.1s"), "6.1s");
        let ink = Ink::colored();
        let tones = [Tone::Head, Tone::Over, Tone::Held, Tone::Quiet];
        let marked = tones.map(|tone| ink.mark(tone, "a"));
        assert_eq!(
            marked,
            [
                "\x1b[1ma\x1b[0m",
                "\x1b[38;5;9ma\x1b[39m",
                "\x1b[38;5;11ma\x1b[39m",
                "\x1b[2ma\x1b[0m"
            ]
        );
    }
}
