//! Where checkpoints are: a folder, or whatever else the `object_store` crate knows.
//!
//! Everything waits until it is done, so it is called from threads that may.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use object_store::local::LocalFileSystem;
use object_store::path::Path as Key;
use object_store::prefix::PrefixStore;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};
use tokio::runtime::Runtime;
use url::Url;

use crate::error::{Error, ErrorKind, Result};

/// A store of whole objects, each of which is there whole or not at all.
#[derive(Clone)]
pub struct CheckpointStore {
    objects: Arc<dyn ObjectStore>,
    runtime: Arc<Runtime>,
    /// What it is called in errors.
    name: String,
}

impl CheckpointStore {
    /// The folder at `path`, which is made if it is not there. What is put is on the disk when that returns.
    ///
    /// # Errors
    /// Of kind `State`, if the folder cannot be made or read.
    pub fn folder(path: &Path) -> Result<Self> {
        let failed = || Error::new(ErrorKind::State, format!("checkpoints: cannot use the folder {path:?}"));
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|why| failed().because(why))?;
        let files = LocalFileSystem::new_with_prefix(path).map_err(|why| failed().because(why))?;
        // Folders of checkpoints that are deleted go with them.
        let files = files.with_fsync(true).with_automatic_cleanup(true);
        Self::new(Arc::new(files), path.display().to_string())
    }

    /// The store that `place` names: a folder, or a URL of an object store such as `s3://bucket/prefix`, for which the feature of
    /// `object_store` must be on (`cargo add object_store --features aws` in the crate that has `main`). Whoever may read and write there is said by
    /// the environment, by the variables of that store's own tools (`AWS_ACCESS_KEY_ID` …).
    ///
    /// # Errors
    /// Of kind `Config` for a URL that this program cannot use, and as for [`folder`](Self::folder).
    pub fn at(place: &str) -> Result<Self> {
        if !place.contains("://") {
            return Self::folder(Path::new(place));
        }
        let unusable = || {
            Error::config(format!("checkpoints: this program cannot use {place:?}")).hint(
                "a folder, or the URL of an object store whose feature of the crate object_store is on, such as \
                 s3://bucket/prefix with the feature aws",
            )
        };
        let url = Url::parse(place).map_err(|why| unusable().because(why))?;
        if url.scheme() == "file" {
            return Self::folder(&url.to_file_path().map_err(|()| unusable())?);
        }
        // One that is not UTF-8 is none of the store's.
        let texts =
            std::env::vars_os().filter_map(|(name, value)| name.into_string().ok().zip(value.into_string().ok()));
        let variables = texts.map(|(name, value)| (name.to_lowercase(), value));
        let (objects, prefix) = object_store::parse_url_opts(&url, variables).map_err(|why| unusable().because(why))?;
        Self::new(Arc::new(PrefixStore::new(objects, prefix)), place.to_owned())
    }

    /// Any store; `name` is what it is called in errors.
    ///
    /// # Errors
    /// Of kind `State`, if the operating system has no room for another event loop.
    pub fn new(objects: Arc<dyn ObjectStore>, name: String) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|why| Error::new(ErrorKind::State, "checkpoints: cannot begin").because(why))?;
        Ok(CheckpointStore { objects, runtime: Arc::new(runtime), name })
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Keeps `bytes` as the object `key`, in place of what was kept as it.
    ///
    /// # Errors
    /// Of kind `State`. What was there before may be there or not.
    pub fn put(&self, key: &str, bytes: Vec<u8>) -> Result<()> {
        let location = Key::from(key);
        let put = self.objects.put(&location, PutPayload::from(bytes));
        self.runtime.block_on(put).map(drop).map_err(|why| self.failed("write", key, why))
    }

    /// The object `key`.
    ///
    /// # Errors
    /// Of kind `State`.
    pub fn get(&self, key: &str) -> Result<Bytes> {
        let get = async { self.objects.get(&Key::from(key)).await?.bytes().await };
        self.runtime.block_on(get).map_err(|why| self.failed("read", key, why))
    }

    /// Deletes the object `key`; one that is not there is deleted.
    ///
    /// # Errors
    /// Of kind `State`.
    pub fn delete(&self, key: &str) -> Result<()> {
        match self.runtime.block_on(self.objects.delete(&Key::from(key))) {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(why) => Err(self.failed("delete", key, why)),
        }
    }

    /// The names of what is directly in `folder` ("" for all of the store), in order: folders, then objects.
    ///
    /// # Errors
    /// Of kind `State`.
    pub fn list(&self, folder: &str) -> Result<(Vec<String>, Vec<String>)> {
        let prefix = (!folder.is_empty()).then(|| Key::from(folder));
        let listed = self.runtime.block_on(self.objects.list_with_delimiter(prefix.as_ref()));
        let listed = listed.map_err(|why| self.failed("list", folder, why))?;
        let name = |key: &Key| key.filename().unwrap_or_default().to_owned();
        let mut folders: Vec<_> = listed.common_prefixes.iter().map(name).collect();
        let mut objects: Vec<_> = listed.objects.iter().map(|object| name(&object.location)).collect();
        folders.sort_unstable();
        objects.sort_unstable();
        Ok((folders, objects))
    }

    fn failed(&self, what: &str, key: &str, why: object_store::Error) -> Error {
        Error::new(ErrorKind::State, format!("checkpoints: cannot {what} {key:?} in {}", self.name)).because(why)
    }
}

#[cfg(test)]
mod tests {
    use object_store::memory::InMemory;

    use super::*;

    #[test]
    fn places_are_folders_or_urls() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_str().unwrap();
        for place in [path.to_owned(), format!("file://{path}"), "memory:///a/b".to_owned()] {
            let store = CheckpointStore::at(&place).unwrap();
            store.put("c/1", b"one".to_vec()).unwrap();
            assert_eq!(store.list("").unwrap().0, ["c"], "{place}");
        }
        for place in ["s3://bucket/prefix", "://", "ftp://host/x"] {
            let error = CheckpointStore::at(place).err().unwrap().to_string();
            assert!(error.contains(place) && error.contains("hint:"), "{error}");
        }
    }

    #[test]
    fn objects_are_kept_and_listed_and_deleted_in_every_store() {
        let folder = tempfile::tempdir().unwrap();
        let memory = CheckpointStore::new(Arc::new(InMemory::new()), "memory".to_owned()).unwrap();
        for store in [CheckpointStore::folder(&folder.path().join("a/b")).unwrap(), memory] {
            store.put("b/2", b"two".to_vec()).unwrap();
            store.put("b/1", b"one".to_vec()).unwrap();
            store.put("a/1", b"other".to_vec()).unwrap();
            store.put("b/1", b"one again".to_vec()).unwrap();
            assert_eq!(&store.get("b/1").unwrap()[..], b"one again");
            assert_eq!(store.list("").unwrap(), (vec!["a".to_owned(), "b".to_owned()], vec![]));
            assert_eq!(store.list("b").unwrap().1, ["1", "2"]);
            store.delete("b/1").unwrap();
            store.delete("b/1").unwrap();
            let error = store.get("b/1").unwrap_err().to_string();
            assert!(error.contains("cannot read \"b/1\""), "{error}");
            assert_eq!(store.list("b").unwrap().1, ["2"]);
            store.delete("b/2").unwrap();
            assert_eq!(store.list("").unwrap().0, ["a"], "an empty folder is gone");
        }
    }
}
