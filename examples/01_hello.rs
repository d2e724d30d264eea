//! Greets every line of standard input: `echo world | cargo run --example 01_hello -- run hello`.

use tidewatch::prelude::*;

/// Greets.
pub fn hello(flow: &Flow, _: &NoParams) -> Result<()> {
    let names = flow.source::<Line>("names")?;
    names.map("greet", |line| format!("hello, {}", line.text)).sink("greetings")
}

fn main() -> ExitCode {
    tidewatch::main([dataflow("hello", hello)])
}
