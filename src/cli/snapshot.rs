//! `cluster snapshot`: the cluster's state as a file, for `cluster recover`.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::Args as ClapArgs;
use serde_json::{Value, json};

use super::args::Reach;
use super::cluster_client::Cluster;
use super::failure::Failure;
use super::print::{fields, print_json, write};
use crate::topology::state::State;
use crate::topology::state::snapshot_file;

/// The arguments of `cluster snapshot`.
#[derive(Debug, ClapArgs)]
pub(super) struct Snapshot {
    /// The file to create; one that exists is never overwritten
    file: PathBuf,
    /// Take the newest state that any node shows, without a quorum: it may lack the latest changes
    #[arg(long)]
    any: bool,
    #[command(flatten)]
    reach: Reach,
}

/// Writes the state to a new file, and says what it holds.
pub(super) async fn snapshot(args: &Snapshot) -> Result<(), Failure> {
    let Snapshot { file, any, reach } = args;
    let cluster = Cluster::of(reach)?;
    // Said before the cluster is asked; the link below is what holds.
    if file.symlink_metadata().is_ok() {
        return Err(taken(file));
    }
    let state = match any {
        true => cluster.newest().await?,
        false => cluster.state().await?,
    };
    let content = snapshot_file::encode(&state);
    keep(file, &content).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => taken(file),
        _ => Failure::Failed(format!("cannot write {}: {error}", file.display())),
    })?;
    let mut answer = holds(&state);
    answer["file"] = json!(file.display().to_string());
    answer["bytes"] = json!(content.len());
    answer["confirmed"] = json!(!any);
    if reach.json {
        return print_json(&answer);
    }
    let names = [
        "file",
        "bytes",
        "cluster_id",
        "epoch",
        "confirmed",
        "groups",
        "members",
    ];
    write(fields(&names, &answer).as_bytes(), false)
}

fn taken(file: &Path) -> Failure {
    Failure::Failed(format!(
        "{} is there already and is not overwritten: give another name",
        file.display()
    ))
}

/// The state in the file `path`.
pub(super) fn read(path: &Path) -> Result<State, Failure> {
    let file = std::fs::read(path)
        .map_err(|error| Failure::Usage(format!("cannot read {}: {error}", path.display())))?;
    snapshot_file::decode(&file)
        .map_err(|error| Failure::Failed(format!("{} cannot be used: {error}", path.display())))
}

/// Returns what a state holds, as operators see it.
pub(super) fn holds(state: &State) -> Value {
    let groups: Vec<_> = state.groups().map(|group| group.name.to_string()).collect();
    let members = state.members().map(|member| member.name.to_string());
    let mut members: Vec<_> = members.collect();
    members.sort_unstable();
    json!({
        "cluster_id": state.cluster().to_string(),
        "epoch": state.epoch().0,
        "groups": groups,
        "members": members,
    })
}

/// Makes the file `path`, for its user alone: whole and synced, or not at all. Fails if it is there.
fn keep(path: &Path, content: &[u8]) -> io::Result<()> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let draft = format!(
        ".{}.{}",
        name.to_string_lossy(),
        uuid::Uuid::new_v4().simple()
    );
    let draft = folder.join(draft);
    let written = File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&draft)
        .and_then(|mut file| {
            file.write_all(content)?;
            file.sync_all()
        })
        // Unlike a rename, a link never replaces anything.
        .and_then(|()| std::fs::hard_link(&draft, path))
        .and_then(|()| File::open(folder)?.sync_all());
    let _left = std::fs::remove_file(&draft);
    written
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_file_is_made_whole_for_its_user_alone_and_never_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        keep(&path, b"first").unwrap();
        let mode = path.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let taken = keep(&path, b"second").unwrap_err();
        assert_eq!(taken.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read(&path).unwrap(), b"first");
        // No draft stays.
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        assert!(keep(&folder.path().join("no/folder"), b"").is_err());
        assert!(keep(Path::new("/"), b"").is_err());
    }
}
