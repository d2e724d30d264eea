//! Each worker's part of a checkpoint: its objects, and the list of them.

use std::collections::BTreeMap;

use super::CheckpointWriterPlan;
use crate::checkpoint::frame::to_line;
use crate::checkpoint::manifest::{CheckpointName, LASTING, ObjectRef, WorkerDone};
use crate::checkpoint::object;
use crate::error::Result;
use crate::time::Epoch;

/// The size at which an object is written. It bounds the memory, and the size of a request to an object store.
const OBJECT_BYTES: usize = 8 * 1024 * 1024;

/// The parts of a process's workers.
pub(super) struct WorkerParts(BTreeMap<usize, WorkerPart>);

#[derive(Default)]
struct WorkerPart {
    /// The epoch of the checkpoint that is being written.
    epoch: Epoch,
    /// Something of it is lost, so it is abandoned.
    void: bool,
    /// Entries of it that are not written yet.
    object: Vec<u8>,
    objects: Vec<ObjectRef>,
    /// Entries that later checkpoints share, and that are not written yet.
    lasting: Vec<u8>,
    lasting_objects: Vec<ObjectRef>,
    /// How many shared objects this run has written.
    lasting_written: usize,
}

/// The name of the list of a worker's objects.
pub(super) fn list_name(worker: usize) -> String {
    format!("w{worker:03}.done")
}

impl WorkerParts {
    pub(super) fn new(plan: &CheckpointWriterPlan) -> Self {
        let mut parts: BTreeMap<usize, WorkerPart> = BTreeMap::new();
        for (worker, object) in &plan.lasting {
            parts.entry(*worker).or_default().lasting_objects.push(object.clone());
        }
        WorkerParts(parts)
    }

    /// Adds entries.
    ///
    /// # Errors
    /// If the store fails; that part is abandoned then.
    pub(super) fn write(
        &mut self,
        plan: &CheckpointWriterPlan,
        worker: usize,
        epoch: Epoch,
        slot: u32,
        lasting: bool,
        entries: &[u8],
    ) -> Result<()> {
        let part = self.begin(worker, epoch);
        if lasting {
            object::push(&mut part.lasting, slot, entries);
            return if part.lasting.len() >= OBJECT_BYTES { part.write_lasting(plan, worker) } else { Ok(()) };
        }
        if part.void {
            return Ok(());
        }
        object::push(&mut part.object, slot, entries);
        if part.object.len() >= OBJECT_BYTES { part.write(plan, worker) } else { Ok(()) }
    }

    /// A worker has handed over all of its part of a checkpoint.
    ///
    /// # Errors
    /// As for [`write`](Self::write).
    pub(super) fn done(&mut self, plan: &CheckpointWriterPlan, worker: usize, epoch: Epoch) -> Result<()> {
        let part = self.begin(worker, epoch);
        if part.void {
            return Ok(());
        }
        part.write(plan, worker)?;
        part.write_lasting(plan, worker)?;
        let (objects, lasting) = (std::mem::take(&mut part.objects), part.lasting_objects.clone());
        plan.store.put(&key(plan, epoch, &list_name(worker)), to_line(&WorkerDone { objects, lasting }))
    }

    /// The part of a worker; what is there of an earlier checkpoint is abandoned.
    fn begin(&mut self, worker: usize, epoch: Epoch) -> &mut WorkerPart {
        let part = self.0.entry(worker).or_default();
        if part.epoch < epoch {
            part.epoch = epoch;
            part.void = false;
            part.object.clear();
            part.objects.clear();
        }
        part
    }
}

impl WorkerPart {
    fn write(&mut self, plan: &CheckpointWriterPlan, worker: usize) -> Result<()> {
        let object = std::mem::take(&mut self.object);
        if object.is_empty() {
            return Ok(());
        }
        let name = format!("w{worker:03}-{:04}.part", self.objects.len());
        let reference = object::refer(key(plan, self.epoch, &name), &object);
        self.void = true;
        plan.store.put(&reference.key, object)?;
        self.void = false;
        self.objects.push(reference);
        Ok(())
    }

    /// What cannot be written now is kept for the next checkpoint, which needs it, too.
    fn write_lasting(&mut self, plan: &CheckpointWriterPlan, worker: usize) -> Result<()> {
        if self.lasting.is_empty() {
            return Ok(());
        }
        let name = format!("{LASTING}/{:06}-{worker:03}-{:06}.part", plan.generation, self.lasting_written);
        let reference = object::refer(name, &self.lasting);
        self.void = true;
        plan.store.put(&reference.key, self.lasting.clone())?;
        self.void = false;
        self.lasting.clear();
        self.lasting_written += 1;
        self.lasting_objects.push(reference);
        Ok(())
    }
}

fn key(plan: &CheckpointWriterPlan, epoch: Epoch, name: &str) -> String {
    format!("{}/{name}", CheckpointName { epoch, generation: plan.generation })
}
