//! The programs of a release. Plain data.

use sandbox_machine::Image;

/// The kubectl plugin's program.
pub(crate) const PLUGIN: &str = "kubectl-tqw";

/// A program of a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// The one program of an image.
    OfImage(Image),
    /// The kubectl plugin, which people install on their own machines.
    Plugin,
}

impl Program {
    /// All programs, those of the images first.
    pub const ALL: [Self; 3] = [
        Self::OfImage(Image::TaskqueueOperator),
        Self::OfImage(Image::OrderWorker),
        Self::Plugin,
    ];

    /// The name of its file.
    pub fn binary(self) -> &'static str {
        match self {
            Self::OfImage(image) => image.binary(),
            Self::Plugin => PLUGIN,
        }
    }

    /// The name of its package, which a bill of materials is about.
    pub fn package(self) -> &'static str {
        match self {
            Self::OfImage(image) => image.binary(),
            Self::Plugin => "taskqueue-cli",
        }
    }

    /// The folder of its package, in the checkout.
    pub(crate) fn folder(self) -> &'static str {
        match self {
            Self::OfImage(Image::TaskqueueOperator) => "operator",
            Self::OfImage(Image::OrderWorker) => "worker",
            Self::Plugin => "operator/cli",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_image_has_its_program_among_them() {
        let of_images = Program::ALL
            .into_iter()
            .filter_map(|program| match program {
                Program::OfImage(image) => Some(image),
                Program::Plugin => None,
            });
        assert_eq!(of_images.collect::<Vec<_>>(), Image::ALL);
    }
}
