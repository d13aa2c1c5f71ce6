//! Lays out the root of one of the project's images, as the stage `build` of the Dockerfile does.
//! Writes files.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{
    checkout::checkout,
    error::{Attempt, Result},
    files::{make_folder, remove_folder},
};

/// The certificates that the images trust, as Debian keeps them.
const CERTIFICATES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Makes the root of an image: `binary` under the name `name`, the certificates, and in `/licenses`
/// the project's licence and `licenses`. What was there before is removed.
pub fn lay_out(root: &Path, name: &str, binary: &Path, licenses: &[PathBuf]) -> Result<()> {
    remove_folder(root)?;
    copy(binary, &root.join(name))?;
    copy(
        Path::new(CERTIFICATES),
        &root.join(CERTIFICATES.trim_start_matches('/')),
    )?;
    let own = checkout()?.join("LICENSE");
    for file in licenses.iter().chain([&own]) {
        copy(
            file,
            &root
                .join("licenses")
                .join(file.file_name().unwrap_or_default()),
        )?;
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    make_folder(to.parent().unwrap_or(Path::new("/")))?;
    fs::copy(from, to)
        .map(drop)
        .attempt(|| format!("copying {}", from.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_has_the_program_its_certificates_and_its_licences_and_nothing_older() {
        let folder = tempfile::tempdir().unwrap();
        let (root, program) = (folder.path().join("root"), folder.path().join("built"));
        let third = folder.path().join("THIRD-PARTY.txt");
        fs::write(&program, "program").unwrap();
        fs::write(&third, "licences").unwrap();
        make_folder(&root).unwrap();
        fs::write(root.join("older"), "").unwrap();
        lay_out(&root, "worker", &program, &[third]).unwrap();
        assert_eq!(fs::read(root.join("worker")).unwrap(), b"program");
        for file in [
            "etc/ssl/certs/ca-certificates.crt",
            "licenses/LICENSE",
            "licenses/THIRD-PARTY.txt",
        ] {
            assert!(root.join(file).is_file(), "{file}");
        }
        assert!(!root.join("older").exists());
    }
}
