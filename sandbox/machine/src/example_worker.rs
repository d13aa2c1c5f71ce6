//! The workers of `examples/workers`, one in each language, as images in the cluster. Builds an
//! image on first use.

use crate::{buildah, error::Result, progress::Progress, provision::examples, sandbox::Sandbox};

/// A language that `examples/workers` has a worker in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// Go.
    Go,
    /// Python.
    Python,
    /// TypeScript.
    TypeScript,
    /// Java.
    Java,
}

impl Language {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Go, Self::Python, Self::TypeScript, Self::Java];

    /// The folder of its worker below `examples/workers`.
    pub fn folder(self) -> &'static str {
        self.example().folder
    }

    fn example(self) -> &'static examples::Example {
        match self {
            Self::Go => &examples::GO,
            Self::Python => &examples::PYTHON,
            Self::TypeScript => &examples::TYPESCRIPT,
            Self::Java => &examples::JAVA,
        }
    }
}

impl Sandbox {
    /// The reference of the image of this language's worker, which is in the cluster.
    pub fn example_worker(&self, language: Language, progress: Progress) -> Result<String> {
        let example = language.example();
        let built = examples::provision(self.paths(), example, progress)?;
        let name = format!("example-{}", example.folder);
        let reference = self.test_image_reference(&name, &built.tag);
        let dockerfile = built.context.join("Dockerfile");
        let image = buildah::Image {
            file: &dockerfile,
            context: &built.context,
            target: None,
            name: &reference,
            base: built.base.as_deref(),
            build: Some(&built.build),
        };
        self.deliver_test_image(&name, image, progress)?;
        Ok(reference)
    }
}
