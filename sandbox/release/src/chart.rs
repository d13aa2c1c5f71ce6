//! The chart as the package of a release, and the plain YAML of it. Starts helm.

use std::{ffi::OsString, fs, path::Path, path::PathBuf, process::Command};

use sandbox_machine::{
    Architecture, Attempt, Error, OPERATOR_NAMESPACE, Paths, Programs, Result, checkout, files,
    find_program, run,
};
use serde_json::{Value, json};

use crate::{
    folder::{CHART, Record, VERSION, package},
    program::Program,
};

/// The icon of the chart, in the repository.
const ICON: &str = "docs/icon.svg";
/// What [`replace`] calls the values of the chart.
const VALUES: &str = "values.yaml of the chart";

/// Helm: of the environment (`HELM`), built by the sandbox, or installed.
pub(crate) fn helm(paths: &Paths) -> Result<PathBuf> {
    let named = std::env::var_os("HELM").map(PathBuf::from);
    let built = Programs::locate(paths)?.helm;
    named
        .or_else(|| built.is_file().then_some(built))
        .or_else(|| find_program("helm"))
        .ok_or_else(|| {
            Error::Machine(
                "helm is not installed; install it, or build it with `cargo sandbox up`".into(),
            )
        })
}

/// Packs the chart with the registry, the digest and the links of the release.
pub(crate) fn pack(helm: &Path, record: &Record, folder: &Path) -> Result<()> {
    let work = tempfile::tempdir().attempt(|| "creating a temporary folder".into())?;
    let chart = work.path().join(CHART);
    let source = checkout()?.join("charts").join(CHART);
    run::output(
        Command::new("cp")
            .arg("--recursive")
            .arg(&source)
            .arg(&chart),
    )?;
    edit(&chart.join("Chart.yaml"), |text| {
        let chart = serde_saphyr::from_str(text)
            .map_err(|error| Error::source("Chart.yaml", error.to_string()))?;
        serde_saphyr::to_string(&described(chart, record)?)
            .map_err(|error| Error::source("Chart.yaml", error.to_string()))
    })?;
    edit(&chart.join("values.yaml"), |text| pinned(text, record))?;
    run::output(
        Command::new(helm)
            .arg("package")
            .arg(&chart)
            .arg("--destination")
            .arg(folder),
    )
    .map(drop)
}

fn edit(file: &Path, change: impl FnOnce(&str) -> Result<String>) -> Result<()> {
    let text = fs::read_to_string(file).attempt(|| format!("reading {}", file.display()))?;
    files::write_file(file, change(&text)?.as_bytes())
}

/// `Chart.yaml` with where the chart is from and what it installs, for Artifact Hub.
fn described(mut chart: Value, record: &Record) -> Result<Value> {
    let operator = record.image(Program::OPERATOR)?;
    let platforms: Vec<String> = record
        .architectures
        .iter()
        .map(|architecture| format!("linux/{architecture}"))
        .collect();
    let images = json!([{
        "name": operator.name,
        "image": operator.reference,
        "platforms": platforms,
    }]);
    let links = json!([{"name": "source", "url": record.source}]);
    chart["home"] = json!(record.source);
    chart["icon"] = json!(format!("{}/raw/v{VERSION}/{ICON}", record.source));
    chart["sources"] = json!([record.source]);
    chart["annotations"]["artifacthub.io/images"] = json!(yaml(&images)?);
    chart["annotations"]["artifacthub.io/links"] = json!(yaml(&links)?);
    Ok(chart)
}

fn yaml(value: &Value) -> Result<String> {
    serde_saphyr::to_string(value).map_err(|error| Error::source("YAML", error.to_string()))
}

/// `values.yaml` with the registry and the digest of the image, and for nodes of every architecture
/// if the image is.
fn pinned(values: &str, record: &Record) -> Result<String> {
    let digest = &record.image(Program::OPERATOR)?.digest;
    let values = replace(
        VALUES,
        values,
        "  registry: \"\"\n",
        &format!("  registry: {}\n", record.registry),
    )?;
    let values = replace(
        VALUES,
        &values,
        "  digest: \"\"\n",
        &format!("  digest: {digest}\n"),
    )?;
    let default = "  kubernetes.io/arch: amd64\n";
    match record.architectures()?[..] {
        [Architecture::Amd64] => Ok(values),
        [one] => replace(
            VALUES,
            &values,
            default,
            &format!("  kubernetes.io/arch: {}\n", one.name()),
        ),
        _ => replace(VALUES, &values, default, ""),
    }
}

/// Replaces the part of a file that occurs once in it.
pub(crate) fn replace(file: &str, text: &str, line: &str, by: &str) -> Result<String> {
    match text.split_once(line) {
        Some((before, after)) if !after.contains(line) => Ok(format!("{before}{by}{after}")),
        _ => Err(Error::source(
            file,
            format!("{line:?} does not occur exactly once"),
        )),
    }
}

/// The plain YAML of the package in this folder.
pub(crate) fn render(helm: &Path, folder: &Path) -> Result<String> {
    plain_yaml(helm, &folder.join(package()), &[])
}

/// What a package of the chart renders to with its own values, and the namespace that it is
/// installed into. `arguments` are further ones of `helm template`.
pub fn plain_yaml(helm: &Path, package: &Path, arguments: &[OsString]) -> Result<String> {
    let rendered = run::output(
        Command::new(helm)
            .args(["template", CHART])
            .arg(package)
            .args(["--namespace", OPERATOR_NAMESPACE, "--skip-tests"])
            .args(arguments)
            // Never contacts a cluster, whatever the caller's environment points at.
            .env("KUBECONFIG", "/dev/null"),
    )?;
    Ok(format!(
        "# taskqueue-operator {VERSION}, its CRDs and its namespace:\n# kubectl apply --filename \
         install.yaml\napiVersion: v1\nkind: Namespace\nmetadata:\n  name: \
         {OPERATOR_NAMESPACE}\n{rendered}"
    ))
}

/// The version and the appVersion of a package, and the digest that its values pin.
pub(crate) fn facts(helm: &Path, folder: &Path) -> Result<(Value, Value)> {
    let show = |what: &str| {
        let mut command = Command::new(helm);
        command.args(["show", what]).arg(folder.join(package()));
        let text = run::output(&mut command)?;
        serde_saphyr::from_str::<Value>(&text)
            .map_err(|error| Error::source(format!("{what} of {}", package()), error.to_string()))
    };
    Ok((show("chart")?, show("values")?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::folder::Published;

    fn record(architectures: &[&str]) -> Record {
        Record {
            version: VERSION.into(),
            revision: "abc".into(),
            registry: "registry.example.com/team".into(),
            source: "https://example.com/repository".into(),
            architectures: architectures.iter().map(|&name| name.into()).collect(),
            plugins: Vec::new(),
            images: vec![Published {
                name: "taskqueue-operator".into(),
                reference: format!("registry.example.com/team/taskqueue-operator:{VERSION}"),
                archive: "a.tar".into(),
                digest: "sha256:0123".into(),
            }],
        }
    }

    #[test]
    fn the_values_of_the_chart_are_pinned_to_the_image_and_its_architectures() {
        let file = checkout()
            .unwrap()
            .join("charts")
            .join(CHART)
            .join("values.yaml");
        let values = fs::read_to_string(file).unwrap();
        let parsed = |architectures: &[&str]| -> Value {
            let text = pinned(&values, &record(architectures)).unwrap();
            serde_saphyr::from_str(&text).unwrap()
        };
        let both = parsed(&["amd64", "arm64"]);
        assert_eq!(both["image"]["registry"], "registry.example.com/team");
        assert_eq!(both["image"]["digest"], "sha256:0123");
        assert_eq!(both["nodeSelector"], json!({"kubernetes.io/os": "linux"}));
        let selector =
            |name: &str| json!({"kubernetes.io/arch": name, "kubernetes.io/os": "linux"});
        assert_eq!(parsed(&["amd64"])["nodeSelector"], selector("amd64"));
        assert_eq!(parsed(&["arm64"])["nodeSelector"], selector("arm64"));
    }

    #[test]
    fn a_line_that_is_missing_or_there_twice_is_an_error() {
        assert_eq!(replace("file", "a\nb\n", "a\n", "c\n").unwrap(), "c\nb\n");
        for values in ["b\n", "a\na\n"] {
            let error = replace("file", values, "a\n", "c\n").unwrap_err();
            let error = error.to_string();
            assert!(error.contains("does not occur exactly once"), "{error}");
        }
    }

    #[test]
    fn the_chart_of_a_release_names_its_image_and_where_it_is_from() {
        let chart = json!({"name": CHART, "annotations": {"artifacthub.io/license": "Apache-2.0"}});
        let described = described(chart, &record(&["amd64", "arm64"])).unwrap();
        let annotations = &described["annotations"];
        assert_eq!(annotations["artifacthub.io/license"], "Apache-2.0");
        let images: Value =
            serde_saphyr::from_str(annotations["artifacthub.io/images"].as_str().unwrap()).unwrap();
        assert_eq!(
            images,
            json!([{
                "name": "taskqueue-operator",
                "image": format!("registry.example.com/team/taskqueue-operator:{VERSION}"),
                "platforms": ["linux/amd64", "linux/arm64"],
            }])
        );
        assert_eq!(described["home"], "https://example.com/repository");
        let icon = format!("https://example.com/repository/raw/v{VERSION}/docs/icon.svg");
        assert_eq!(described["icon"], icon);
        assert!(checkout().unwrap().join(ICON).is_file());
    }
}
