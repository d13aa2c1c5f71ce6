//! Installs the operator into the sandbox by its Helm chart. Starts helm and kubectl.

use crate::{
    checkout::checkout,
    error::{Error, Result},
    image::Image,
    names::{OPERATOR_LEASE, OPERATOR_NAMESPACE, OPERATOR_RELEASE},
    run,
    sandbox::Sandbox,
};

impl Sandbox {
    /// Installs or upgrades the operator and waits until it is available. `settings` are
    /// `name=value` as for `helm --set`. The images have to be loaded before.
    pub fn install_operator(&self, settings: &[&str]) -> Result<()> {
        let image = Image::TaskqueueOperator;
        let hash = self.image_hash(image)?;
        if hash.is_empty() {
            return Err(Error::Usage(format!(
                "the image {} is not loaded; run `cargo sandbox --name {} images` first",
                self.image_reference(image),
                self.paths().name
            )));
        }
        self.release(
            &operator_settings(&self.image_reference(image), &hash),
            settings,
        )
    }

    /// The pod of the operator's leader: the holder of its lease, or the only pod if there is no
    /// lease. The other replicas are on standby and take no hints.
    pub fn operator_pod(&self) -> Result<String> {
        let of = |what: &[&str]| {
            let mut args = vec!["--namespace", OPERATOR_NAMESPACE, "get"];
            args.extend(what);
            self.kubectl_output(&args)
        };
        // The second is the lease of version 0.1.0.
        for lease in [OPERATOR_LEASE, OPERATOR_RELEASE] {
            let holder = of(&[
                "lease",
                lease,
                "--ignore-not-found",
                "--output=jsonpath={.spec.holderIdentity}",
            ])?;
            if !holder.is_empty() {
                return Ok(holder);
            }
        }
        let running = [
            "pods",
            "--field-selector=status.phase=Running",
            "--output=jsonpath={.items[0].metadata.name}",
        ];
        of(&running)
    }

    fn release(&self, own: &[String], settings: &[&str]) -> Result<()> {
        let mut helm = self.helm();
        helm.args(["upgrade", "--install", OPERATOR_RELEASE])
            .arg(checkout()?.join("charts/taskqueue-operator"))
            .args(["--namespace", OPERATOR_NAMESPACE, "--create-namespace"])
            .args(["--wait", "--timeout=120s"]);
        for setting in own {
            helm.args(["--set-string", setting]);
        }
        for setting in settings {
            helm.args(["--set", setting]);
        }
        run::output(&mut helm).map(drop)
    }
}

/// The image's tag stays the same while its content changes, so the pods carry its hash and roll
/// when it changes.
fn operator_settings(reference: &str, hash: &str) -> Vec<String> {
    let (repository, tag) = reference.rsplit_once(':').unwrap_or((reference, "latest"));
    vec![
        format!("image.repository={repository}"),
        format!("image.tag={tag}"),
        format!("podAnnotations.sandbox/image=h{hash}"),
        "podAnnotations.prometheus\\.io/scrape=true".into(),
        "podAnnotations.prometheus\\.io/port=8080".into(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_operator_is_installed_from_the_registry_with_its_port_and_rolls_with_its_content() {
        assert_eq!(
            operator_settings("localhost:5000/team/taskqueue-operator:0.1.0", "abc"),
            [
                "image.repository=localhost:5000/team/taskqueue-operator",
                "image.tag=0.1.0",
                "podAnnotations.sandbox/image=habc",
                "podAnnotations.prometheus\\.io/scrape=true",
                "podAnnotations.prometheus\\.io/port=8080",
            ]
        );
    }
}
