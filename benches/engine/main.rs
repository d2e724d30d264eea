//! Micro-benchmarks of what a record meets on its way: `cargo bench`, or `cargo bench -- exchange` for those of one
//! name.
//!
//! With `--features abomonation` the exchange of rows as they lie in memory is among them. Figures of one machine, and
//! what follows from them, are in `docs/design/0003-exchange.md`.

#![allow(clippy::unwrap_used, reason = "a measurement that cannot continue has failed")]
#![allow(clippy::print_stdout, reason = "the size of what is measured is part of the result")]

mod decode;
mod encode;
mod exchange;
mod window;

use criterion::{criterion_group, criterion_main};

criterion_group!(benches, decode::bench, window::bench, exchange::bench, encode::bench);
criterion_main!(benches);
