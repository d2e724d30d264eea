//! `cluster`.
use super::args::ClusterArgs;
use crate::error::Result;
use crate::flow::Dataflow;

pub(super) fn cluster(_dataflow: &Dataflow, _args: &ClusterArgs) -> Result<()> {
    unimplemented!()
}
