//! What a pod of a test finds in its volumes and variables: the contents of ConfigMaps and Secrets.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use anyhow::{Context, Result};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Container, EnvVar, PodSpec, Secret};
use kube::Client;
use kube::api::Api;

/// Fills the volumes of the pod at `ip`, folders below `folder`, and puts what `container` takes from Secrets into its
/// variables.
///
/// # Errors
/// An object that the pod needs and that is not there.
pub(super) async fn provide(
    (client, namespace): (&Client, &str),
    (spec, ip): (&PodSpec, Ipv4Addr),
    container: &mut Container,
    folder: &str,
) -> Result<()> {
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
    for volume in spec.volumes.iter().flatten() {
        let into = format!("{folder}/{}", volume.name);
        if let Some(source) = &volume.config_map {
            for (name, text) in maps.get(&source.name).await?.data.unwrap_or_default() {
                let text = text.replace("\"0.0.0.0:", &format!("\"{ip}:"));
                write(&into, &name, here(&text, container, folder).as_bytes())?;
            }
        }
        if let Some(source) = &volume.secret {
            let name = source.secret_name.as_deref().context("a volume names no Secret")?;
            let data = secrets.get(name).await?.data.unwrap_or_default();
            let all = data.keys().map(|key| (key.clone(), key.clone()));
            let files: BTreeMap<String, String> = match &source.items {
                Some(items) => items.iter().map(|item| (item.key.clone(), item.path.clone())).collect(),
                None => all.collect(),
            };
            for (key, path) in files {
                let ByteString(bytes) = data.get(&key).with_context(|| format!("{name} has no key {key}"))?;
                write(&into, &path, bytes)?;
            }
        }
    }
    let mut given = Vec::new();
    for source in container.env_from.iter().flatten() {
        let secret = source.secret_ref.as_ref().context("only Secrets are known here")?;
        for (name, ByteString(value)) in secrets.get(&secret.name).await?.data.unwrap_or_default() {
            given.push(variable(name, &value)?);
        }
    }
    for entry in container.env.take().into_iter().flatten() {
        let source = entry.value_from.as_ref().and_then(|from| from.secret_key_ref.as_ref());
        let Some(source) = source else {
            given.push(entry);
            continue;
        };
        let data = secrets.get(&source.name).await?.data.unwrap_or_default();
        match data.get(&source.key) {
            Some(ByteString(value)) => given.push(variable(entry.name, value)?),
            None if source.optional == Some(true) => {}
            None => anyhow::bail!("{} has no key {}", source.name, source.key),
        }
    }
    container.env = Some(given);
    Ok(())
}

/// `text` with the paths that the container sees replaced by those of this machine: pods have no file
/// systems here, and no network of their own.
fn here(text: &str, container: &Container, folder: &str) -> String {
    let mounts = container.volume_mounts.iter().flatten();
    mounts.fold(text.to_owned(), |text, mount| {
        let inside = |end: &str| format!("\"{}{end}", mount.mount_path);
        let outside = |end: &str| format!("\"{folder}/{}{end}", mount.name);
        text.replace(&inside("/"), &outside("/"))
            .replace(&inside("\""), &outside("\""))
    })
}

fn variable(name: String, value: &[u8]) -> Result<EnvVar> {
    Ok(EnvVar {
        name,
        value: Some(String::from_utf8(value.to_vec())?),
        value_from: None,
    })
}

fn write(folder: &str, name: &str, content: &[u8]) -> Result<()> {
    std::fs::create_dir_all(folder)?;
    std::fs::write(format!("{folder}/{name}"), content)?;
    Ok(())
}
