//! Rows in the containers of the crate `columnar`: one column per field, read in place as references to fields.

use std::cell::OnceCell;
use std::hint::black_box;
use std::io::Write;

use columnar::bytes::stash::Stash;
use columnar::{Columnar, ContainerOf, Index, Len};
use tidewatch::flow::timely::bytes::arc::Bytes;
use tidewatch::flow::timely::dataflow::channels::ContainerBytes;

use super::Message;

/// A message of rows, which are laid out in columns when it is sent.
pub struct Column<R: Columnar> {
    rows: Vec<R>,
    columns: OnceCell<Stash<ContainerOf<R>, Bytes>>,
}

impl<R: Columnar> Column<R> {
    fn columns(&self) -> &Stash<ContainerOf<R>, Bytes> {
        self.columns.get_or_init(|| Stash::Typed(R::as_columns(&self.rows)))
    }
}

impl<R: Columnar> From<Vec<R>> for Column<R> {
    fn from(rows: Vec<R>) -> Self {
        Column { rows, columns: OnceCell::new() }
    }
}

impl<R: Columnar> ContainerBytes for Column<R> {
    fn from_bytes(bytes: Bytes) -> Self {
        Column { rows: Vec::new(), columns: OnceCell::from(Stash::try_from_bytes(bytes).unwrap()) }
    }

    fn length_in_bytes(&self) -> usize {
        self.columns().length_in_bytes()
    }

    fn into_bytes<W: Write>(&self, writer: &mut W) {
        self.columns().write_bytes(writer).unwrap();
    }
}

impl<R: Columnar + Clone> Message for Column<R> {
    type Row = R;

    fn read(self) {
        let columns = self.columns().borrow();
        for i in 0..columns.len() {
            black_box(columns.get(i));
        }
    }

    fn own(self, to: &mut Vec<R>) {
        let columns = self.columns().borrow();
        to.extend((0..columns.len()).map(|i| R::into_owned(columns.get(i))));
    }
}
