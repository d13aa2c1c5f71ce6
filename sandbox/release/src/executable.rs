//! What the file of a program says of itself: its platform, whether it needs nothing beside it, and
//! whether it lists what it is made of. Reads the file.

use std::{fs, path::Path};

use object::{
    Architecture as Processor, BinaryFormat, Object as _,
    elf::PT_INTERP,
    read::{File, elf::ProgramHeader as _},
};
use sandbox_machine::{Architecture, Attempt, Error, Result};

use crate::{
    platform::{Platform, System},
    program::Program,
};

/// An error unless the file is a program for the platform that lists its parts, and is static on
/// Linux.
pub(crate) fn verify(file: &Path, program: Program, platform: Platform) -> Result<()> {
    let content = fs::read(file).attempt(|| format!("reading {}", file.display()))?;
    let wrong = |why: String| Error::source(file.display().to_string(), why);
    let parsed = File::parse(&*content).map_err(|error| wrong(error.to_string()))?;
    complaint(&parsed, program, platform).map_or(Ok(()), |why| Err(wrong(why)))
}

fn complaint(file: &File<'_>, program: Program, platform: Platform) -> Option<String> {
    let expected = (
        match platform.system {
            System::Linux => BinaryFormat::Elf,
            System::MacOs => BinaryFormat::MachO,
        },
        match platform.architecture {
            Architecture::Amd64 => Processor::X86_64,
            Architecture::Arm64 => Processor::Aarch64,
        },
    );
    let found = (file.format(), file.architecture());
    if found != expected {
        return Some(format!(
            "it is a program for {found:?} instead of {expected:?}"
        ));
    }
    if let File::Elf64(elf) = file
        && elf
            .elf_program_headers()
            .iter()
            .any(|header| header.p_type(elf.endian()) == PT_INTERP)
    {
        return Some("it is not static: it names a loader".into());
    }
    let list = match program {
        Program::GreetingWorker => ".go.buildinfo",
        // Where cargo-auditable writes it.
        Program::OfImage(_) | Program::Plugin => ".dep-v0",
    };
    file.section_by_name(list)
        .is_none()
        .then(|| format!("it does not list what it is made of: it has no section {list}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The test itself: static, for this machine, without a list of its crates.
    fn complaint_of_the_test(platform: Platform) -> String {
        let own = std::env::current_exe().unwrap();
        let error = verify(&own, Program::Plugin, platform).unwrap_err();
        error.to_string()
    }

    #[test]
    fn a_program_without_the_list_of_its_parts_is_noticed() {
        let error = complaint_of_the_test(Platform::linux(Architecture::HOST));
        assert!(error.ends_with("it has no section .dep-v0"), "{error}");
    }

    #[test]
    fn a_program_for_another_platform_is_noticed() {
        let [amd64, arm64] = Architecture::ALL;
        let other = if Architecture::HOST == amd64 {
            arm64
        } else {
            amd64
        };
        for platform in [Platform::linux(other), Platform::macos(Architecture::HOST)] {
            let error = complaint_of_the_test(platform);
            assert!(error.contains("it is a program for (Elf, "), "{error}");
        }
    }

    #[test]
    fn a_program_that_needs_a_loader_is_noticed() {
        let shell = Path::new("/bin/sh");
        let error = verify(shell, Program::Plugin, Platform::linux(Architecture::HOST));
        let error = error.unwrap_err().to_string();
        assert!(error.contains("it is not static"), "{error}");
    }

    #[test]
    fn what_is_no_program_is_noticed() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let platform = Platform::linux(Architecture::HOST);
        let error = verify(file.path(), Program::Plugin, platform).unwrap_err();
        let named = error.to_string();
        assert!(named.contains(&*file.path().to_string_lossy()), "{named}");
    }
}
