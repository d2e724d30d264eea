//! The configured file sink and the writer of one shard.
//!
//! Files roll only between epochs, so the rows of an epoch are never split over files, and by the time of epochs, not
//! of the wall clock. Files without rows are not created. Without a state directory, what is reported durable has been
//! handed to the operating system, and is readable once its file is finished; with one, the writer is that of `exact`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::exact;
use super::finisher::Finisher;
use super::output::{Naming, Output, Rolling, WRITE_BYTES};
use crate::checkpoint::directory::SINK_SHARDS_MAX;
use crate::connectors::sink::{Delivery, SinkConnector, SinkContext, SinkWriter};
use crate::error::{Error, Result};
use crate::settings::{Bytes, Section};
use crate::time::Epoch;

/// The size at which a file is finished, in bytes, unless configured otherwise.
pub const ROLL_BYTES_DEFAULT: u64 = 128 * 1024 * 1024;

/// The age, in the time of epochs, at which a file is finished unless configured otherwise.
pub const ROLL_AFTER_DEFAULT: Duration = Duration::from_secs(5 * 60);

/// A sink of kind `file`: a folder of JSON-lines files, each finished one complete.
#[derive(Clone, Debug)]
pub struct FileSink {
    folder: PathBuf,
    rolling: Rolling,
}

impl FileSink {
    /// Writes to `folder`, which is created if it does not exist.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        let rolling = Rolling { bytes: ROLL_BYTES_DEFAULT, after_ms: 0 };
        FileSink { folder: folder.into(), rolling }.roll_after(ROLL_AFTER_DEFAULT)
    }

    /// Finishes a file once it has `roll_bytes` (at the end of the epoch that reaches them).
    #[must_use]
    pub fn roll_bytes(mut self, roll_bytes: u64) -> Self {
        self.rolling.bytes = roll_bytes;
        self
    }

    /// Finishes a file at the first epoch that is `roll_after` younger than the file's first one.
    #[must_use]
    pub fn roll_after(mut self, roll_after: Duration) -> Self {
        self.rolling.after_ms = u64::try_from(roll_after.as_millis()).unwrap_or(u64::MAX);
        self
    }

    /// The folder.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Examples of the names of files that it will write as the sink `name`, in a run that starts at `run_ms`: one per
    /// shard.
    pub(crate) fn samples(&self, name: &str, run_ms: u64) -> Vec<String> {
        let sample = |shard| {
            let context =
                SinkContext { name: name.to_owned(), shard, shards: SINK_SHARDS_MAX, run_ms, generation: None };
            Naming::new(&context, Path::new("")).finished(0).to_string_lossy().into_owned()
        };
        (0..SINK_SHARDS_MAX).map(sample).collect()
    }

    /// Reads `path`, `roll_bytes` and `roll_after` from the sink's section; `None` if one is missing or faulty.
    pub fn from_section(section: &mut Section<'_>) -> Option<Self> {
        let folder = section.required::<PathBuf>("path");
        let roll_bytes = section.within("roll_bytes", Bytes(1)..=Bytes(u64::MAX), Bytes(ROLL_BYTES_DEFAULT)).0;
        let roll_after = section.within("roll_after", Duration::from_millis(1)..=Duration::MAX, ROLL_AFTER_DEFAULT);
        Some(FileSink::new(folder?).roll_bytes(roll_bytes).roll_after(roll_after))
    }
}

impl SinkConnector for FileSink {
    fn open(&self, context: &SinkContext) -> Result<Box<dyn SinkWriter>> {
        let naming = Naming::new(context, &self.folder);
        naming.prepare(context.shard == 0)?;
        if let Some(generation) = &context.generation {
            return Ok(Box::new(exact::open(context, generation, &self.folder, self.rolling)?));
        }
        Ok(Box::new(FileWriter {
            sink: context.name.clone(),
            naming,
            rolling: self.rolling,
            buffer: Vec::new(),
            open: None,
            sequence: 0,
            sealed: None,
            finisher: None,
        }))
    }

    fn delivery(&self) -> Delivery {
        Delivery::ExactlyOnce
    }
}

struct FileWriter {
    sink: String,
    naming: Naming,
    rolling: Rolling,
    /// Rows that are not written yet.
    buffer: Vec<u8>,
    open: Option<OpenOutput>,
    /// The number of the next file.
    sequence: u32,
    sealed: Option<Epoch>,
    /// Started with the first file that is finished.
    finisher: Option<Finisher>,
}

struct OpenOutput {
    output: Output,
    bytes: u64,
    /// The first epoch sealed in it.
    first: Option<Epoch>,
}

impl FileWriter {
    fn flush(&mut self) -> Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let mut open = match self.open.take() {
            Some(open) => open,
            None => {
                let output = Output::create(&self.naming, self.sequence)?;
                self.sequence = output.sequence() + 1;
                OpenOutput { output, bytes: 0, first: None }
            }
        };
        open.output.write(&self.buffer)?;
        open.bytes += self.buffer.len() as u64;
        self.open = Some(open);
        self.buffer.clear();
        self.buffer.shrink_to(2 * WRITE_BYTES);
        Ok(())
    }

    fn finisher(&mut self) -> Result<&Finisher> {
        match &mut self.finisher {
            Some(finisher) => Ok(finisher),
            none => Ok(none.insert(Finisher::start(&self.sink)?)),
        }
    }
}

impl SinkWriter for FileWriter {
    fn write(&mut self, _key: Option<&[u8]>, row: &[u8]) -> Result<()> {
        self.buffer.extend_from_slice(row);
        self.buffer.push(b'\n');
        if self.buffer.len() >= WRITE_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    fn seal(&mut self, epoch: Epoch) -> Result<()> {
        self.flush()?;
        self.sealed = Some(epoch);
        let Some(open) = &mut self.open else { return Ok(()) };
        let first = *open.first.get_or_insert(epoch);
        if !self.rolling.is_due(open.bytes, Some(first), epoch) {
            return Ok(());
        }
        if let Some(OpenOutput { output, bytes, first }) = self.open.take() {
            let back = self.finisher()?.offer(output);
            self.open = back.map(|output| OpenOutput { output, bytes, first });
        }
        Ok(())
    }

    fn durable(&mut self) -> Result<Option<Epoch>> {
        if let Some(finisher) = &self.finisher {
            finisher.check()?;
        }
        Ok(self.sealed)
    }

    fn finish(&mut self) -> Result<()> {
        if !self.buffer.is_empty() {
            return Err(Error::new(
                crate::error::ErrorKind::Internal,
                format!("sink {:?} was finished with rows that are not sealed", self.sink),
            ));
        }
        // The earlier files first: this one has the highest number.
        self.finisher.take().map_or(Ok(()), Finisher::finish)?;
        if let Some(open) = self.open.take() {
            open.output.publish()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context() -> SinkContext {
        SinkContext { name: "alerts".into(), shard: 0, shards: 1, run_ms: 0, generation: None }
    }

    /// Finished and hidden files, by name, with their texts.
    fn files(folder: &Path) -> (Vec<String>, Vec<String>) {
        let mut all: Vec<(String, String)> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .map(|path| {
                (path.file_name().unwrap().to_str().unwrap().to_owned(), std::fs::read_to_string(path).unwrap())
            })
            .collect();
        all.sort();
        let (hidden, finished): (Vec<_>, Vec<_>) = all.into_iter().partition(|(name, _)| name.starts_with('.'));
        let texts = |files: Vec<(String, String)>| files.into_iter().map(|(_, text)| text).collect();
        (texts(finished), texts(hidden))
    }

    fn wait_for_finished(folder: &Path, count: usize) -> Vec<String> {
        for _ in 0..2_000 {
            let (finished, _) = files(folder);
            if finished.len() >= count {
                return finished;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("{count} files were not finished in time: {:?}", files(folder));
    }

    #[test]
    fn rows_are_hidden_until_the_file_is_finished() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = FileSink::new(folder.path().join("a/b")).open(&context()).unwrap();
        let folder = folder.path().join("a/b");
        assert_eq!(writer.durable().unwrap(), None);
        writer.seal(1).unwrap();
        assert_eq!(files(&folder), (vec![], vec![]), "no file without rows");
        writer.write(None, b"{\"a\":1}").unwrap();
        writer.write(Some(b"key"), b"{\"a\":2}").unwrap();
        assert_eq!(writer.durable().unwrap(), Some(1));
        writer.seal(2).unwrap();
        assert_eq!(writer.durable().unwrap(), Some(2));
        let text = "{\"a\":1}\n{\"a\":2}\n".to_owned();
        assert_eq!(files(&folder), (vec![], vec![text.clone()]));
        writer.finish().unwrap();
        assert_eq!(files(&folder), (vec![text], vec![]));
    }

    #[test]
    fn files_roll_by_size_at_the_end_of_an_epoch() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = FileSink::new(folder.path()).roll_bytes(4).open(&context()).unwrap();
        for (epoch, rows) in [(1, vec!["a"]), (2, vec!["b", "c", "d"]), (3, vec!["e"])] {
            for row in rows {
                writer.write(None, row.as_bytes()).unwrap();
            }
            writer.seal(epoch).unwrap();
        }
        assert_eq!(wait_for_finished(folder.path(), 1), ["a\nb\nc\nd\n"]);
        writer.finish().unwrap();
        assert_eq!(files(folder.path()), (vec!["a\nb\nc\nd\n".into(), "e\n".into()], vec![]));
    }

    #[test]
    fn files_roll_by_the_time_of_epochs_also_when_no_rows_come() {
        let folder = tempfile::tempdir().unwrap();
        let sink = FileSink::new(folder.path()).roll_after(Duration::from_millis(100));
        let mut writer = sink.open(&context()).unwrap();
        writer.write(None, b"a").unwrap();
        writer.seal(1_000).unwrap();
        writer.seal(1_099).unwrap();
        assert_eq!(files(folder.path()).1, ["a\n"]);
        writer.seal(1_100).unwrap();
        assert_eq!(wait_for_finished(folder.path(), 1), ["a\n"]);
        writer.finish().unwrap();
    }

    #[test]
    fn an_epoch_larger_than_the_buffer_and_the_limit_is_one_file() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = FileSink::new(folder.path()).roll_bytes(1).open(&context()).unwrap();
        let row = vec![b'x'; 1_000];
        for _ in 0..3 * WRITE_BYTES / row.len() {
            writer.write(None, &row).unwrap();
        }
        writer.seal(1).unwrap();
        writer.finish().unwrap();
        let (finished, hidden) = files(folder.path());
        assert_eq!((finished.len(), hidden.len()), (1, 0));
        assert_eq!(finished[0].len(), 3 * WRITE_BYTES / row.len() * 1_001);
    }

    #[test]
    fn a_killed_run_leaves_no_visible_file_and_disturbs_no_later_one() {
        let folder = tempfile::tempdir().unwrap();
        for _ in 0..2 {
            let mut writer = FileSink::new(folder.path()).open(&context()).unwrap();
            writer.write(None, b"lost").unwrap();
            writer.seal(1).unwrap();
        }
        let mut writer = FileSink::new(folder.path()).open(&context()).unwrap();
        writer.write(None, b"kept").unwrap();
        writer.seal(1).unwrap();
        writer.finish().unwrap();
        assert_eq!(files(folder.path()), (vec!["kept\n".into()], vec!["lost\n".into(), "lost\n".into()]));
    }

    #[test]
    fn more_rolls_than_the_finisher_keeps_up_with_lose_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = FileSink::new(folder.path()).roll_bytes(1).open(&context()).unwrap();
        for epoch in 0..50u64 {
            writer.write(None, format!("{epoch:02}").as_bytes()).unwrap();
            writer.seal(epoch).unwrap();
        }
        writer.finish().unwrap();
        let (finished, hidden) = files(folder.path());
        let expected: String = (0..50).map(|epoch| format!("{epoch:02}\n")).collect();
        assert_eq!((finished.concat(), hidden.len()), (expected, 0));
    }
}
