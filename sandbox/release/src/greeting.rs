//! The worker of the quick start, `examples/workers/go`, as a release ships it: compiled for an
//! architecture, with the licences of its modules and its bill of materials. Starts go.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use sandbox_machine::{
    Architecture, Attempt, Error, Progress, Result, checkout, files, lay_out, run,
};
use serde_json::{Value, json};

use crate::{
    folder::{Built, NOTICES, VERSION},
    platform::Platform,
    program::{GREETING_WORKER, Program},
};

/// What the names of files with licences begin with, in capitals.
const LICENSES: [&str; 4] = ["LICENSE", "LICENCE", "COPYING", "NOTICE"];
/// Modules of which this version was published without a licence, looked at by a person. Temporal's
/// API for Go imports this one, which has the same authors.
const WITHOUT_LICENSE: [(&str, &str); 1] =
    [("github.com/nexus-rpc/nexus-proto-annotations", "v0.1.0")];
/// Name, version and folder of a module, a line each, of all packages in the program; the standard
/// library and the program itself belong to none.
const MODULES: &str =
    "{{with .Module}}{{if not .Main}}{{.Path}}\t{{.Version}}\t{{.Dir}}{{end}}{{end}}";

/// A module that is linked into the program.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Module {
    version: String,
    folder: PathBuf,
}

/// Makes the root of the image below `output`, as `binaries::compile` does for the others.
pub(crate) fn compile(architecture: Architecture, output: &Path, progress: Progress) -> Result<()> {
    progress.say(&format!(
        "compiling {GREETING_WORKER} for {}",
        architecture.name()
    ));
    let work = tempfile::tempdir().attempt(|| "creating a temporary folder".into())?;
    let program = work.path().join(GREETING_WORKER);
    let mut compiler = go(architecture)?;
    compiler
        .args(["build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w"])
        .arg("-o")
        .arg(&program);
    run::output(compiler.arg("."))?;
    let listed = run::output(go(architecture)?.args(["list", "-deps", "-f", MODULES, "."]))?;
    let mut modules = parse(&listed);
    modules.insert("std".into(), standard_library(architecture)?);
    let notices = work.path().join(NOTICES);
    files::write_file(&notices, collect_notices(&modules)?.as_bytes())?;
    let built = Built::new(output, Platform::linux(architecture));
    lay_out(
        &built.root(Program::GreetingWorker),
        GREETING_WORKER,
        &program,
        &[notices],
    )?;
    files::write_json(
        &built.bill_of_materials(Program::GreetingWorker),
        &bill_of_materials(&modules),
    )
}

/// Go in the folder of the worker.
fn go(architecture: Architecture) -> Result<Command> {
    let mut command = Command::new("go");
    command
        .current_dir(checkout()?.join(Program::GreetingWorker.folder()))
        .env("CGO_ENABLED", "0")
        .env("GOOS", "linux")
        .env("GOARCH", architecture.name())
        .env("GOWORK", "off")
        .env("GOFLAGS", "-mod=readonly");
    Ok(command)
}

/// Go itself, which is a part of every program.
fn standard_library(architecture: Architecture) -> Result<Module> {
    let ask = |what: &str| run::output(go(architecture)?.args(["env", what]));
    Ok(Module {
        version: ask("GOVERSION")?.trim().trim_start_matches("go").into(),
        folder: ask("GOROOT")?.trim().into(),
    })
}

fn parse(listed: &str) -> BTreeMap<String, Module> {
    let modules = listed.lines().filter_map(|line| {
        let mut parts = line.split('\t');
        let name = parts.next().filter(|name| !name.is_empty())?;
        let (version, folder) = (parts.next()?.into(), parts.next()?.into());
        Some((name.to_owned(), Module { version, folder }))
    });
    modules.collect()
}

/// The licences of all modules. An error names a module that has none and is not known for it.
fn collect_notices(modules: &BTreeMap<String, Module>) -> Result<String> {
    const LINE: &str = "========================================";
    let mut text = String::from(
        "Notices of third parties\n\nThis program contains the software below, each part under \
         the licence that follows it.\n",
    );
    for (name, module) in modules {
        let files = license_files(&module.folder)?;
        let known = WITHOUT_LICENSE.contains(&(name.as_str(), module.version.as_str()));
        if files.is_empty() && !known {
            return Err(Error::source(
                name,
                format!("{} has no licence", module.folder.display()),
            ));
        }
        let _always_succeeds = write!(
            text,
            "\n{LINE}{LINE}\n{name} {}\n{LINE}{LINE}\n",
            module.version
        );
        if files.is_empty() {
            text.push_str("\nThis version has no file with a licence.\n");
        }
        for file in files {
            let content = fs::read(&file).attempt(|| format!("reading {}", file.display()))?;
            let _always_succeeds = write!(text, "\n{}", String::from_utf8_lossy(&content));
        }
    }
    Ok(text)
}

/// The files in the root of a module that hold its licence and its notices, in order.
fn license_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let what = || format!("reading {}", folder.display());
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).attempt(what)? {
        let path = entry.attempt(what)?.path();
        if path.is_file() && path.file_name().is_some_and(is_license) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn is_license(name: &OsStr) -> bool {
    let name = name.to_string_lossy().to_uppercase();
    LICENSES.iter().any(|start| name.starts_with(start))
}

fn bill_of_materials(modules: &BTreeMap<String, Module>) -> Value {
    let component = |(name, module): (&String, &Module)| {
        let version = &module.version;
        json!({
            "type": "library",
            "name": name,
            "version": version,
            "purl": format!("pkg:golang/{name}@{version}"),
        })
    };
    json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "component": {"type": "application", "name": GREETING_WORKER, "version": VERSION},
        },
        "components": modules.iter().map(component).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(folder: &Path) -> Module {
        Module {
            version: "v1.2.3".into(),
            folder: folder.into(),
        }
    }

    #[test]
    fn a_module_is_listed_once_however_many_of_its_packages_are_linked() {
        let listed = "\nexample.com/a\tv1.2.3\t/go/a\n\nexample.com/a\tv1.2.3\t/go/a\n";
        assert_eq!(
            parse(listed),
            BTreeMap::from([("example.com/a".into(), module(Path::new("/go/a")))])
        );
    }

    #[test]
    fn the_notices_have_every_licence_and_notice_of_a_module() {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in [
            ("LICENSE", "may\n"),
            ("notice.txt", "made by\n"),
            ("main.go", "code"),
        ] {
            fs::write(folder.path().join(name), text).unwrap();
        }
        let modules = BTreeMap::from([("example.com/a".into(), module(folder.path()))]);
        let text = collect_notices(&modules).unwrap();
        assert!(text.contains("\nexample.com/a v1.2.3\n"), "{text}");
        assert!(text.ends_with("\n\nmay\n\nmade by\n"), "{text}");
    }

    #[test]
    fn a_module_without_a_licence_is_an_error_that_names_it_unless_it_is_known() {
        let folder = tempfile::tempdir().unwrap();
        let (known, version) = WITHOUT_LICENSE[0];
        for name in ["example.com/a", known] {
            let modules = BTreeMap::from([(name.into(), module(folder.path()))]);
            let error = collect_notices(&modules).unwrap_err().to_string();
            assert!(error.contains(&format!("{name}: ")), "{error}");
        }
        let looked_at = Module {
            version: version.into(),
            folder: folder.path().into(),
        };
        let modules = BTreeMap::from([(known.into(), looked_at)]);
        let text = collect_notices(&modules).unwrap();
        assert!(text.ends_with("has no file with a licence.\n"), "{text}");
    }

    #[test]
    fn the_bill_names_each_module_as_scanners_do() {
        let modules = BTreeMap::from([("example.com/a".into(), module(Path::new("/go/a")))]);
        assert_eq!(
            bill_of_materials(&modules)["components"],
            json!([{
                "type": "library",
                "name": "example.com/a",
                "version": "v1.2.3",
                "purl": "pkg:golang/example.com/a@v1.2.3",
            }])
        );
    }
}
