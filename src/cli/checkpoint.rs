//! `checkpoint`: the checkpoints that a run can resume from.

use std::collections::BTreeMap;
use std::process::ExitCode;

use comfy_table::Table;
use comfy_table::presets::NOTHING;

use super::args::{CheckpointArgs, CheckpointCommand, OneCheckpointArgs};
use crate::checkpoint::bindings::{Admitted, Position};
use crate::checkpoint::manifest::{self, CheckpointName};
use crate::checkpoint::prune::prune;
use crate::checkpoint::restore::{Restored, load};
use crate::checkpoint::snapshots::{admitted_of, positions_of};
use crate::checkpoint::store::CheckpointStore;
use crate::error::{Error, ErrorKind, Result, Shown};
use crate::time::EventTime;

pub(super) fn checkpoint(command: &CheckpointCommand) -> Result<ExitCode> {
    match command {
        CheckpointCommand::List(args) => list(&store(args)?),
        CheckpointCommand::Inspect(args) => inspect(args),
        CheckpointCommand::Verify(args) => verify(args),
        CheckpointCommand::Prune(args) => {
            // Whatever a run is taking is newer than what is complete, and stays.
            let pruned = prune(&store(&args.place)?, usize::from(args.keep), 0)?;
            show!("{} deleted", pruned.deleted);
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// The store that is meant; it must be there.
fn store(args: &CheckpointArgs) -> Result<CheckpointStore> {
    if let Some(store) = &args.store {
        return CheckpointStore::at(store);
    }
    let folder = args.state.join("checkpoints");
    if !folder.is_dir() {
        return Err(Error::config(format!("there is no folder {folder:?}")).hint(
            "--state is the state directory of a run; checkpoints are in its folder \"checkpoints\", unless the run's \
             engine.checkpoint_store says otherwise: then give that as --store",
        ));
    }
    CheckpointStore::folder(&folder)
}

fn list(store: &CheckpointStore) -> Result<ExitCode> {
    let mut table = table(&["checkpoint", "of", "size", "workers", ""]);
    for listed in manifest::list(store)? {
        let of = time(listed.name.epoch);
        let row = match manifest::read_manifest(store, listed.name) {
            Ok(manifest) => [bytes(manifest.bytes()), manifest.workers.to_string(), String::new()],
            Err(_) if !listed.complete => [String::new(), String::new(), "not complete".to_owned()],
            Err(_) => [String::new(), String::new(), "damaged".to_owned()],
        };
        table.add_row([vec![listed.name.to_string(), of], row.to_vec()].concat());
    }
    show!("{table}");
    Ok(ExitCode::SUCCESS)
}

fn inspect(args: &OneCheckpointArgs) -> Result<ExitCode> {
    let store = store(&args.place)?;
    let newest = || manifest::list(&store).map(|all| all.into_iter().rfind(|listed| listed.complete));
    let name = match args.checkpoint {
        Some(name) => name,
        None => newest()?.ok_or_else(|| none(&store))?.name,
    };
    let manifest = manifest::read_manifest(&store, name)?;
    let restored = load(&store, &manifest)?;
    show!("checkpoint  {name}: {}", time(name.epoch));
    show!("complete    at {}, by {} workers", time(manifest.completed_ms), manifest.workers);
    show!("size        {} in {} objects", bytes(manifest.bytes()), manifest.objects.len() + manifest.lasting.len());
    show!("{}", stages(&restored));
    show!("{}", positions(&restored)?);
    Ok(ExitCode::SUCCESS)
}

/// What each stage keeps.
fn stages(restored: &Restored) -> Table {
    let mut table = table(&["kept of", "entries", "size"]);
    for (slot, name) in (0..).zip(&restored.slots) {
        let (entries, size) = restored.size(slot);
        table.add_row([name.clone(), entries.to_string(), bytes(size)]);
    }
    table
}

/// Where the sources were.
fn positions(restored: &Restored) -> Result<Table> {
    let mut table = table(&["source", "partition", "next offset", "greatest event time", ""]);
    for slot in &restored.slots {
        let Some((source, _)) = slot.rsplit_once('.').filter(|(source, _)| *slot == positions_of(source)) else {
            continue;
        };
        let mut greatest = BTreeMap::new();
        restored.each(&admitted_of(source), |at: Admitted| {
            greatest.insert(at.partition, at.admission.greatest());
        })?;
        restored.each(slot, |at: Position| {
            let greatest = greatest.get(&at.partition).filter(|time| **time != EventTime::MIN);
            let greatest = greatest.map(EventTime::to_string).unwrap_or_default();
            let phase = format!("{:?}", at.phase).to_lowercase();
            let label = Shown::from(&*at.label).to_string();
            table.add_row([source.to_owned(), label, at.next.to_string(), greatest, phase]);
        })?;
    }
    Ok(table)
}

fn verify(args: &OneCheckpointArgs) -> Result<ExitCode> {
    let store = store(&args.place)?;
    let names: Vec<CheckpointName> = match args.checkpoint {
        Some(name) => vec![name],
        None => {
            manifest::list(&store)?.into_iter().filter(|listed| listed.complete).map(|listed| listed.name).collect()
        }
    };
    if names.is_empty() {
        return Err(none(&store));
    }
    let mut damaged = 0;
    for name in &names {
        match manifest::read_manifest(&store, *name).and_then(|manifest| load(&store, &manifest)) {
            Ok(_) => show!("{name} is whole"),
            Err(error) => {
                damaged += 1;
                show!("{name} is not: {error}");
            }
        }
    }
    if damaged == 0 {
        return Ok(ExitCode::SUCCESS);
    }
    let message = format!("{damaged} of {} checkpoints cannot be restored", names.len());
    Err(Error::new(ErrorKind::State, message)
        .hint("a run resumes from the newest that can; `checkpoint prune` keeps the newest"))
}

fn none(store: &CheckpointStore) -> Error {
    Error::new(ErrorKind::State, format!("there is no complete checkpoint in {}", store.name()))
}

fn table(heads: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(NOTHING).set_header(heads);
    table
}

fn time(ms: u64) -> String {
    EventTime::from_millis(i64::try_from(ms).unwrap_or(i64::MAX)).to_string()
}

/// A number of bytes in the unit that suits it.
fn bytes(n: u64) -> String {
    match n {
        0..1_000 => format!("{n} B"),
        1_000..1_000_000 => format!("{:.1} kB", n as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", n as f64 / 1e6),
        _ => format!("{:.1} GB", n as f64 / 1e9),
    }
}
