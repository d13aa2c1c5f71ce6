//! The programs of a release. Plain data.

use sandbox_machine::Image;

/// The program of the quick start's worker.
pub(crate) const GREETING_WORKER: &str = "greeting-worker";
/// The kubectl plugin's program.
pub(crate) const PLUGIN: &str = "kubectl-tqw";

/// A program of a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// The one program of an image.
    OfImage(Image),
    /// The worker of the quick start, in Go. Only a release has an image of it.
    GreetingWorker,
    /// The kubectl plugin, which people install on their own machines.
    Plugin,
}

impl Program {
    /// The operator.
    pub(crate) const OPERATOR: Self = Self::OfImage(Image::TaskqueueOperator);
    const ORDER_WORKER: Self = Self::OfImage(Image::OrderWorker);
    /// Those that have an image.
    pub(crate) const OF_IMAGES: [Self; 3] =
        [Self::OPERATOR, Self::ORDER_WORKER, Self::GreetingWorker];
    /// Those that cargo compiles.
    pub const OF_CARGO: [Self; 3] = [Self::OPERATOR, Self::ORDER_WORKER, Self::Plugin];

    /// The program that cargo compiles with that name.
    pub fn of_name(name: &str) -> Option<Self> {
        let mut programs = Self::OF_CARGO.into_iter();
        programs.find(|program| program.binary() == name)
    }

    /// The name of its file, and of the stage and the repository of its image.
    pub fn binary(self) -> &'static str {
        match self {
            Self::OfImage(image) => image.binary(),
            Self::GreetingWorker => GREETING_WORKER,
            Self::Plugin => PLUGIN,
        }
    }

    /// The name of its package, which a bill of materials is about.
    pub fn package(self) -> &'static str {
        match self {
            Self::OfImage(image) => image.binary(),
            Self::GreetingWorker => GREETING_WORKER,
            Self::Plugin => "taskqueue-cli",
        }
    }

    /// The folder of its package, in the checkout.
    pub(crate) fn folder(self) -> &'static str {
        match self {
            Self::OfImage(Image::TaskqueueOperator) => "operator",
            Self::OfImage(Image::OrderWorker) => "worker",
            Self::GreetingWorker => "examples/workers/go",
            Self::Plugin => "operator/cli",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_image_has_its_program_among_them() {
        let of_images = Program::OF_IMAGES
            .into_iter()
            .filter_map(|program| match program {
                Program::OfImage(image) => Some(image),
                Program::GreetingWorker | Program::Plugin => None,
            });
        assert_eq!(of_images.collect::<Vec<_>>(), Image::ALL);
    }

    #[test]
    fn the_dockerfile_compiles_every_program_by_default() {
        let file = sandbox_machine::checkout().unwrap().join("Dockerfile");
        let text = std::fs::read_to_string(file).unwrap();
        let names = Program::OF_CARGO.map(Program::binary);
        let line = format!("\nARG PROGRAMS={}\n", names.join(","));
        assert!(text.contains(&line), "{line}");
        for program in Program::OF_CARGO {
            assert_eq!(Program::of_name(program.binary()), Some(program));
        }
        assert_eq!(Program::of_name(GREETING_WORKER), None);
    }
}
