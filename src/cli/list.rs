//! `list`.

use crate::flow::Dataflow;

/// Prints every dataflow and what it is for.
pub(super) fn list(dataflows: &[Dataflow]) {
    let width = dataflows.iter().map(|dataflow| dataflow.name().len()).max().unwrap_or(0);
    for dataflow in dataflows {
        show!("{:width$}  {}", dataflow.name(), dataflow.about_text());
    }
}
