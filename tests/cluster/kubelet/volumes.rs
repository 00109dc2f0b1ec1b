//! A pod's volumes: what is in them, and how that changes while the pod runs.
//!
//! A folder is replaced as a kubelet replaces it: the files are written into a new folder, and the
//! link `..data` is renamed over the old one, so a reader sees all of one version.

use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::{PermissionsExt, chown, symlink},
    path::{Path, PathBuf},
    time::Duration,
};

use k8s_openapi::api::{
    authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec},
    core::v1::{
        ConfigMap, DownwardAPIVolumeFile, KeyToPath, Pod, Secret, ServiceAccount,
        ServiceAccountTokenProjection, Volume, VolumeProjection,
    },
};
use kube::{Api, api::PostParams};
use tokio::time::Instant;

use super::{
    Node,
    environment::{field, namespace},
};

/// The files of a volume, by their path in it.
type Files = BTreeMap<String, Vec<u8>>;

/// The volumes of one pod.
#[derive(Debug)]
pub struct Volumes {
    folder: PathBuf,
    group: Option<i64>,
    written: BTreeMap<String, Files>,
    /// By audience; asked for again when half of their time is over.
    tokens: BTreeMap<String, (String, Instant)>,
}

impl Volumes {
    pub const fn new(folder: PathBuf, group: Option<i64>) -> Self {
        Self { folder, group, written: BTreeMap::new(), tokens: BTreeMap::new() }
    }

    /// Where a volume is on the node.
    pub fn path(&self, volume: &str) -> PathBuf {
        self.folder.join(volume)
    }

    /// Writes what has changed since the last call.
    pub async fn refresh(&mut self, node: &Node, pod: &Pod, address: &str) -> Result<(), String> {
        for volume in pod.spec.iter().flat_map(|spec| &spec.volumes).flatten() {
            let path = self.path(&volume.name);
            let Some(files) = self.files(node, pod, volume, address).await? else {
                fs::create_dir_all(&path)
                    .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(0o777)))
                    .map_err(|error| error.to_string())?;
                continue;
            };
            if self.written.get(&volume.name) != Some(&files) {
                replace(&path, &files, mode(volume), self.group).map_err(|e| e.to_string())?;
                self.written.insert(volume.name.clone(), files);
            }
        }
        Ok(())
    }

    /// What is in a volume; nothing when the pod writes into it.
    async fn files(
        &mut self,
        node: &Node,
        pod: &Pod,
        volume: &Volume,
        address: &str,
    ) -> Result<Option<Files>, String> {
        let mut files = Files::new();
        if let Some(secret) = &volume.secret {
            let name = secret.secret_name.clone().unwrap_or_default();
            let values = self::secret(node, pod, &name, secret.optional).await?;
            files.extend(chosen(values, secret.items.as_deref(), secret.optional)?);
        } else if let Some(map) = &volume.config_map {
            let values = config_map(node, pod, &map.name, map.optional).await?;
            files.extend(chosen(values, map.items.as_deref(), map.optional)?);
        } else if let Some(downward) = &volume.downward_api {
            files.extend(downward_files(pod, downward.items.as_deref(), address)?);
        } else if let Some(projected) = &volume.projected {
            for source in projected.sources.iter().flatten() {
                files.extend(self.projection(node, pod, source, address).await?);
            }
        } else if volume.empty_dir.is_some() {
            return Ok(None);
        } else {
            return Err(format!("this kubelet does not know the kind of volume {}", volume.name));
        }
        Ok(Some(files))
    }

    async fn projection(
        &mut self,
        node: &Node,
        pod: &Pod,
        source: &VolumeProjection,
        address: &str,
    ) -> Result<Files, String> {
        if let Some(secret) = &source.secret {
            let values = self::secret(node, pod, &secret.name, secret.optional).await?;
            return chosen(values, secret.items.as_deref(), secret.optional);
        }
        if let Some(map) = &source.config_map {
            let values = config_map(node, pod, &map.name, map.optional).await?;
            return chosen(values, map.items.as_deref(), map.optional);
        }
        if let Some(downward) = &source.downward_api {
            return downward_files(pod, downward.items.as_deref(), address);
        }
        if let Some(projection) = &source.service_account_token {
            let token = self.token(node, pod, projection).await?;
            return Ok(Files::from([(projection.path.clone(), token.into_bytes())]));
        }
        Err("this kubelet does not know a projected source".to_owned())
    }

    /// A token of the pod's `ServiceAccount` that ends with the pod.
    async fn token(
        &mut self,
        node: &Node,
        pod: &Pod,
        projection: &ServiceAccountTokenProjection,
    ) -> Result<String, String> {
        let audience = projection.audience.clone();
        let key = audience.clone().unwrap_or_default();
        if let Some((token, renewal)) = self.tokens.get(&key)
            && Instant::now() < *renewal
        {
            return Ok(token.clone());
        }
        let seconds = projection.expiration_seconds.unwrap_or(3600);
        let request = TokenRequest {
            spec: TokenRequestSpec {
                audiences: audience.into_iter().collect(),
                bound_object_ref: Some(BoundObjectReference {
                    api_version: Some("v1".to_owned()),
                    kind: Some("Pod".to_owned()),
                    name: pod.metadata.name.clone(),
                    uid: pod.metadata.uid.clone(),
                }),
                expiration_seconds: Some(seconds),
            },
            ..TokenRequest::default()
        };
        let account = pod.spec.as_ref().and_then(|spec| spec.service_account_name.clone());
        let account = account.unwrap_or_else(|| "default".to_owned());
        let api = Api::<ServiceAccount>::namespaced(node.client.clone(), &namespace(pod));
        let answer = api.create_token_request(&account, &PostParams::default(), &request).await;
        let answer = answer.map_err(|error| error.to_string())?;
        let token = answer.status.ok_or("a TokenRequest was answered without a token")?.token;
        let renewal = Instant::now() + Duration::from_secs(seconds.unsigned_abs() / 2);
        self.tokens.insert(key, (token.clone(), renewal));
        Ok(token)
    }
}

async fn secret(
    node: &Node,
    pod: &Pod,
    name: &str,
    optional: Option<bool>,
) -> Result<Files, String> {
    let api = Api::<Secret>::namespaced(node.client.clone(), &namespace(pod));
    match api.get_opt(name).await.map_err(|error| error.to_string())? {
        Some(secret) => {
            Ok(secret.data.into_iter().flatten().map(|(key, value)| (key, value.0)).collect())
        }
        None if optional == Some(true) => Ok(Files::new()),
        None => Err(format!("secret \"{name}\" not found")),
    }
}

async fn config_map(
    node: &Node,
    pod: &Pod,
    name: &str,
    optional: Option<bool>,
) -> Result<Files, String> {
    let api = Api::<ConfigMap>::namespaced(node.client.clone(), &namespace(pod));
    match api.get_opt(name).await.map_err(|error| error.to_string())? {
        Some(map) => {
            let text = map.data.into_iter().flatten().map(|(key, value)| (key, value.into_bytes()));
            let binary = map.binary_data.into_iter().flatten().map(|(key, value)| (key, value.0));
            Ok(text.chain(binary).collect())
        }
        None if optional == Some(true) => Ok(Files::new()),
        None => Err(format!("configmap \"{name}\" not found")),
    }
}

/// All values, or the ones that are named, under the paths that they are given.
fn chosen(
    values: Files,
    items: Option<&[KeyToPath]>,
    optional: Option<bool>,
) -> Result<Files, String> {
    let Some(items) = items.filter(|items| !items.is_empty()) else { return Ok(values) };
    let mut files = Files::new();
    for item in items {
        match values.get(&item.key) {
            Some(value) => files.insert(item.path.clone(), value.clone()),
            None if optional == Some(true) => None,
            None => return Err(format!("references non-existent key {}", item.key)),
        };
    }
    Ok(files)
}

fn downward_files(
    pod: &Pod,
    items: Option<&[DownwardAPIVolumeFile]>,
    address: &str,
) -> Result<Files, String> {
    let items = items.unwrap_or_default().iter();
    let file = |item: &DownwardAPIVolumeFile| {
        let selector = item.field_ref.as_ref().ok_or("this kubelet projects fields only")?;
        Ok((item.path.clone(), field(pod, selector, address)?.into_bytes()))
    };
    items.map(file).collect()
}

fn mode(volume: &Volume) -> u32 {
    let secret = volume.secret.as_ref().and_then(|it| it.default_mode);
    let map = volume.config_map.as_ref().and_then(|it| it.default_mode);
    let projected = volume.projected.as_ref().and_then(|it| it.default_mode);
    secret.or(map).or(projected).map_or(0o644, i32::unsigned_abs)
}

fn replace(folder: &Path, files: &Files, mode: u32, group: Option<i64>) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let current = folder.join("..data");
    let old = fs::read_link(&current).ok();
    let number = old.as_ref().and_then(|old| old.to_str()?.strip_prefix("..")?.parse::<u64>().ok());
    let version = format!("..{}", number.unwrap_or(0) + 1);
    fs::create_dir_all(folder.join(&version))?;
    for (path, content) in files {
        let file = folder.join(&version).join(path);
        if let Some(parent) = file.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(&file, content)?;
        // With a group of its own, a pod's files can be read by it.
        let group = group.and_then(|group| u32::try_from(group).ok());
        chown(&file, None, group)?;
        let bits = if group.is_some() { mode | 0o440 } else { mode };
        fs::set_permissions(&file, fs::Permissions::from_mode(bits))?;
    }
    symlink(&version, folder.join("..new"))?;
    fs::rename(folder.join("..new"), &current)?;
    let top = |path: &String| path.split('/').next().unwrap_or_default().to_owned();
    let names: std::collections::BTreeSet<String> = files.keys().map(top).collect();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if !name.starts_with("..") && !names.contains(&name) {
            fs::remove_file(folder.join(name))?;
        }
    }
    for name in names {
        let link = folder.join(&name);
        if !link.is_symlink() {
            symlink(Path::new("..data").join(&name), link)?;
        }
    }
    match old {
        Some(old) => fs::remove_dir_all(folder.join(old)),
        None => Ok(()),
    }
}
