//! The configured file source.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use super::block::FileBlock;
use super::catalog::Catalog;
use super::finite::FiniteReader;
use super::follow::FollowReader;
use super::list::FileList;
use super::patterns::Patterns;
use super::walk::Glob;
use crate::checkpoint::bindings::KnownPartition;
use crate::connectors::source::{Block, SourceConnector, SourceContext, SourceReader, not_replayable};
use crate::error::Result;
use crate::settings::Section;

/// How often the patterns of a followed source are looked up again.
const RESCAN: Duration = Duration::from_secs(1);

/// Where following begins in files that exist already at the start; files that appear later are read from their beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReadFrom {
    /// At the beginning.
    #[default]
    Start,
    /// At the last line that is not ended yet.
    End,
}

/// A source of kind `file`: the lines of files, each file a partition, the offset of a record the place of its line's first byte.
/// Unless it follows them, which files there are is found out once, when a worker first opens it.
#[derive(Debug)]
pub struct FileSource {
    patterns: Vec<String>,
    follow: bool,
    read_from: ReadFrom,
    rescan: Duration,
    /// The workers of a process share what was found, so that they agree on it.
    list: Mutex<Option<Arc<FileList>>>,
    catalog: Mutex<Weak<Catalog>>,
}

impl FileSource {
    /// Reads the files that `patterns` (paths or globs) name, to their ends.
    pub fn new(patterns: impl IntoIterator<Item = impl Into<String>>) -> Self {
        FileSource {
            patterns: patterns.into_iter().map(Into::into).collect(),
            follow: false,
            read_from: ReadFrom::Start,
            rescan: RESCAN,
            list: Mutex::new(None),
            catalog: Mutex::new(Weak::new()),
        }
    }

    /// Reads on as the files grow, are rotated and appear; the source then never ends.
    #[must_use]
    pub fn follow(mut self, read_from: ReadFrom) -> Self {
        self.follow = true;
        self.read_from = read_from;
        self
    }

    /// Looks the patterns up again every `rescan` (default 1 s) when following.
    #[must_use]
    pub fn rescan(mut self, rescan: Duration) -> Self {
        self.rescan = rescan;
        self
    }

    /// Reads `path`, `follow` and `read_from` from the source's section; `None` if one is missing or faulty.
    pub fn from_section(section: &mut Section<'_>) -> Option<Self> {
        let patterns = section.required::<Patterns>("path");
        let follow = section.or("follow", false);
        let from_is_set = section.node("read_from").is_some();
        let choices = [("start", ReadFrom::Start), ("end", ReadFrom::End)];
        let read_from = section.choice("read_from", &choices, ReadFrom::Start);
        if from_is_set && !follow {
            section.fault("read_from", "only a source with follow = true can choose; others read files from the start");
            return None;
        }
        let source = FileSource::new(patterns?.0);
        Some(if follow { source.follow(read_from) } else { source })
    }

    /// The pattern by which the source would read a file called `name` in `folder`, if one was there.
    pub(crate) fn pattern_that_matches(&self, folder: &Path, name: &str) -> Option<&str> {
        let would_match = |pattern: &&String| Glob::new(pattern).is_ok_and(|glob| glob.would_match(folder, name));
        self.patterns.iter().find(would_match).map(String::as_str)
    }

    fn shared_list(&self, context: &SourceContext) -> Result<Arc<FileList>> {
        let mut shared = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        // Kept, also when all that began with it have ended: a worker that opens later must number the files alike.
        let list = match &*shared {
            Some(list) => Arc::clone(list),
            None => Arc::new(FileList::new(&context.name, &self.patterns)?),
        };
        *shared = Some(Arc::clone(&list));
        Ok(list)
    }

    fn shared_catalog(&self, context: &SourceContext) -> Result<Arc<Catalog>> {
        let mut shared = self.catalog.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(catalog) = shared.upgrade() {
            return Ok(catalog);
        }
        let catalog = Catalog::start(&context.name, self.patterns.clone(), self.rescan)?;
        *shared = Arc::downgrade(&catalog);
        Ok(catalog)
    }
}

impl SourceConnector for FileSource {
    fn is_live(&self) -> bool {
        self.follow
    }

    fn open(&self, context: &SourceContext) -> Result<Box<dyn SourceReader>> {
        if self.follow {
            let catalog = self.shared_catalog(context)?;
            return Ok(Box::new(FollowReader::new(context, catalog, self.read_from)));
        }
        self.reopen(context, &[])
    }

    /// Files that are rotated away cannot be read again.
    fn is_replayable(&self) -> bool {
        !self.follow
    }

    fn reopen(&self, context: &SourceContext, known: &[KnownPartition]) -> Result<Box<dyn SourceReader>> {
        if self.follow {
            return Err(not_replayable(&context.name));
        }
        Ok(Box::new(FiniteReader::new(context, self.shared_list(context)?, known)?))
    }

    fn block_at(&self, name: &str, place: &[u8]) -> Result<Box<dyn Block>> {
        Ok(Box::new(FileBlock::at(name, place)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connectors::file::FileSink;
    use crate::settings::{Node, Value};

    fn read<T>(entries: &[(&str, Value)], from: impl Fn(&mut Section<'_>) -> Option<T>) -> (Option<T>, Vec<String>) {
        let entries = entries.iter().map(|(key, value)| ((*key).to_owned(), Node::code(value.clone())));
        let table = Node::code(Value::Table(entries.collect()));
        let mut faults = Vec::new();
        let mut section = Section::new("s", Some(&table), &mut faults);
        let value = from(&mut section);
        section.finish();
        (value, faults.iter().map(ToString::to_string).collect())
    }

    fn text(text: &str) -> Value {
        Value::String(text.to_owned())
    }

    #[test]
    fn the_section_of_a_source_is_read_and_its_faults_are_told() {
        let list = Value::Array(vec![Node::code(text("a")), Node::code(text("b/*"))]);
        let entries = [("path", list), ("follow", Value::Bool(true)), ("read_from", text("end"))];
        let (source, faults) = read(&entries, FileSource::from_section);
        let source = source.unwrap();
        assert_eq!(
            (source.patterns, source.follow, source.read_from),
            (vec!["a".into(), "b/*".into()], true, ReadFrom::End)
        );
        assert!(faults.is_empty());

        let (source, faults) = read(&[("path", text("a")), ("read_from", text("end"))], FileSource::from_section);
        assert!(source.is_none() && faults[0].contains("follow = true"), "{faults:?}");
        let (source, faults) = read(&[], FileSource::from_section);
        assert!(source.is_none() && faults[0].contains("s.path: missing"), "{faults:?}");
    }

    #[test]
    fn the_section_of_a_sink_is_read_and_its_faults_are_told() {
        let entries = [("path", text("out")), ("roll_bytes", text("1 MiB")), ("roll_after", text("30s"))];
        let (sink, faults) = read(&entries, FileSink::from_section);
        let shown = format!("{:?}", sink.unwrap());
        assert!(shown.contains("1048576") && shown.contains("30000") && faults.is_empty(), "{shown} {faults:?}");
        let (_, faults) = read(&[("path", text("out")), ("roll_bytes", text("lots"))], FileSink::from_section);
        assert!(faults[0].contains("a size such as"), "{faults:?}");
    }
}
