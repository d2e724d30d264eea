//! The implementations that the derive writes.
//!
//! `Deserialize` is left to serde's own derive, on a mirror of the struct; the rest is short enough to write out. The JSON
//! reader takes the fields in the order of their declaration, and gives up at anything else: a general parser decides
//! then, so nothing here has to be complete, but whatever it accepts has to be right.

mod tagged;

use proc_macro2::{Literal, Span, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::Type;
use syn::spanned::Spanned;

use crate::input::{Declaration, Field, Record};
use crate::names::quoted;

/// All implementations for `declaration`.
pub fn expand(declaration: &Declaration) -> TokenStream {
    let parts = match declaration {
        Declaration::Record(record) => of_record(record),
        Declaration::Tagged(tagged) => tagged::expand(tagged),
    };
    quote! {
        const _: () = {
            use ::tidewatch::__private as __tidewatch;
            #parts
        };
    }
}

fn of_record(record: &Record) -> TokenStream {
    let parts = [clone(record), debug(record), serialize(record), deserialize(record), fast(record), decode(record)];
    quote!(#(#parts)*)
}

fn clone(record: &Record) -> TokenStream {
    let name = &record.name;
    let clones = record.fields.iter().map(|f| {
        let field = &f.name;
        quote_spanned!(span(&f.ty)=> #field: ::core::clone::Clone::clone(&self.#field))
    });
    quote! {
        #[automatically_derived]
        impl ::core::clone::Clone for #name {
            #[inline]
            fn clone(&self) -> Self {
                #name { #(#clones,)* }
            }
        }
    }
}

fn debug(record: &Record) -> TokenStream {
    let name = &record.name;
    let title = name.to_string();
    let shown = record.fields.iter().map(|f| {
        let (field, title) = (&f.name, f.name.to_string());
        quote_spanned!(span(&f.ty)=> .field(#title, &self.#field))
    });
    quote! {
        #[automatically_derived]
        impl ::core::fmt::Debug for #name {
            fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                f.debug_struct(#title)#(#shown)*.finish()
            }
        }
    }
}

/// Fields that keep nothing are left out of formats for people, and are zero bytes in the others: those tell fields
/// apart by position, so both sides have to agree that they are there.
fn serialize(record: &Record) -> TokenStream {
    let (name, fields) = (&record.name, names(record));
    let title = name.to_string();
    let keys: Vec<_> = record.fields.iter().map(|f| &f.key).collect();
    let kept = record.fields.iter().map(|f| {
        let ty = &f.ty;
        quote!(__all || (&&__tidewatch::Probe::<#ty>::NEW).is_kept())
    });
    let written = record.fields.iter().map(|f| {
        let (field, key) = (&f.name, &f.key);
        quote_spanned!(span(&f.ty)=> __struct.serialize_field(#key, &self.#field)?)
    });
    let flags: Vec<_> = (0..fields.len()).map(|i| format_ident!("__kept{i}")).collect();
    quote! {
        #[automatically_derived]
        impl __tidewatch::serde::Serialize for #name {
            fn serialize<__S: __tidewatch::serde::Serializer>(
                &self,
                __serializer: __S,
            ) -> ::core::result::Result<__S::Ok, __S::Error> {
                #[allow(unused_imports)]
                use __tidewatch::{KeptByDefault as _, KeptOrNot as _, serde::ser::SerializeStruct as _};
                let __all = !__serializer.is_human_readable();
                #(let #flags = #kept;)*
                let __len = 0 #(+ ::core::primitive::usize::from(#flags))*;
                let mut __struct = __serializer.serialize_struct(#title, __len)?;
                #(if #flags {
                    #written;
                } else {
                    __struct.skip_field(#keys)?;
                })*
                __struct.end()
            }
        }
    }
}

fn deserialize(record: &Record) -> TokenStream {
    let name = &record.name;
    let title = name.to_string();
    let fields = record.fields.iter().map(|Field { name, ty, key, default, .. }| {
        let default = default.then(|| quote!(#[serde(default)]));
        quote!(#[serde(rename = #key)] #default #name: #ty,)
    });
    quote! {
        #[derive(::tidewatch::__private::serde::Deserialize)]
        #[serde(crate = "::tidewatch::__private::serde", remote = #title, rename = #title)]
        #[allow(dead_code)]
        struct __Mirror { #(#fields)* }

        #[automatically_derived]
        impl<'de> __tidewatch::serde::Deserialize<'de> for #name {
            #[inline]
            fn deserialize<__D: __tidewatch::serde::Deserializer<'de>>(
                __deserializer: __D,
            ) -> ::core::result::Result<Self, __D::Error> {
                __Mirror::deserialize(__deserializer)
            }
        }
    }
}

/// The first field has to be there; the ones after it may be absent if their type or `default` says so.
fn fast(record: &Record) -> TokenStream {
    let name = &record.name;
    let keys = record.fields.iter().map(|f| &f.key);
    let readers = match record.fields.is_empty() {
        true => TokenStream::new(),
        false => {
            let readers = [reader(record, "read_fast", '{'), reader(record, "read_behind_tag", ',')];
            quote!(#(#readers)*)
        }
    };
    quote! {
        #[automatically_derived]
        impl __tidewatch::JsonRecord for #name {
            const KEYS: &'static [&'static str] = &[#(#keys),*];

            #readers
        }
    }
}

/// A function that reads every field, the first of them behind `lead`, and the end of the object.
fn reader(record: &Record, function: &str, lead: char) -> TokenStream {
    let (name, fields, function) = (&record.name, names(record), format_ident!("{function}"));
    let values: Vec<_> = (0..fields.len()).map(|i| format_ident!("__value{i}")).collect();
    let reads = record.fields.iter().enumerate().map(|(i, field)| {
        let ty = &field.ty;
        let probe = quote_spanned!(span(&field.ty)=> (&&__tidewatch::Probe::<#ty>::NEW));
        let lead = if i == 0 { lead } else { ',' };
        let key = Literal::byte_string(format!("{lead}{}:", quoted(&field.key)).as_bytes());
        let absent = match (i, field.default) {
            (0, _) => quote!(return ::core::option::Option::None),
            (_, true) => quote!(::core::default::Default::default()),
            (_, false) => quote!(#probe.absent()?),
        };
        quote!(if __cursor.literal(#key) { #probe.read(__cursor)? } else { #absent })
    });
    quote! {
        #[inline(always)]
        fn #function(__cursor: &mut __tidewatch::Cursor<'_>) -> ::core::option::Option<Self> {
            #[allow(unused_imports)]
            use __tidewatch::{ReadFast as _, ReadSerde as _};
            #(let #values = #reads;)*
            if !__cursor.literal(b"}") || !__cursor.is_at_end() {
                return ::core::option::Option::None;
            }
            ::core::option::Option::Some(#name { #(#fields: #values,)* })
        }
    }
}

fn decode(record: &Record) -> TokenStream {
    let name = &record.name;
    let time = record.fields.iter().find(|f| f.time).map(|f| {
        let field = &f.name;
        quote_spanned!(span(&f.ty)=> self.#field)
    });
    let event = time.as_ref().map(|time| {
        quote! {
            #[automatically_derived]
            impl __tidewatch::Event for #name {
                #[inline]
                fn event_time(&self) -> __tidewatch::EventTime {
                    #time
                }
            }
        }
    });
    let time = match &time {
        Some(time) => quote!(::core::option::Option::Some(#time)),
        None => quote!(::core::option::Option::None),
    };
    let named: Vec<_> = record.fields.iter().filter(|f| !f.time && !is_ignored(&f.ty)).collect();
    let keys = named.iter().map(|f| &f.key);
    let clocks = named.iter().enumerate().map(|(i, f)| {
        let field = &f.name;
        quote_spanned!(span(&f.ty)=> #i => __tidewatch::clock_of(&self.#field))
    });
    let clocks = quote! {
        fn clock_fields() -> &'static [&'static ::core::primitive::str] {
            &[#(#keys),*]
        }

        fn clock(&self, __field: ::core::primitive::usize) -> ::core::primitive::u64 {
            match __field {
                #(#clocks,)*
                _ => 0,
            }
        }
    };
    let decode = decode_json(name, &time, &clocks);
    quote!(#decode #event)
}

/// How a record is decoded; `time` is its event time, an `Option`, and `clocks` says which fields may name its clock.
fn decode_json(name: &syn::Ident, time: &TokenStream, clocks: &TokenStream) -> TokenStream {
    quote! {
        #[automatically_derived]
        impl __tidewatch::Decode for #name {
            type Options = ();
            type Decoder = __tidewatch::JsonDecoder<Self>;

            fn options(_: &mut __tidewatch::Section<'_>) -> Self::Options {}

            fn decoder(_: &Self::Options) -> Self::Decoder {
                __tidewatch::JsonDecoder::new()
            }

            #[inline]
            fn time(&self) -> ::core::option::Option<__tidewatch::EventTime> {
                #time
            }

            #clocks
        }
    }
}

/// Whether a field of this type keeps nothing, as far as its name says.
fn is_ignored(ty: &Type) -> bool {
    matches!(ty, Type::Path(path) if path.path.segments.last().is_some_and(|last| last.ident == "Ignored"))
}

/// Where an error about a type is shown; names mean what they mean at the derive.
fn span(ty: &Type) -> Span {
    ty.span().resolved_at(Span::call_site())
}

fn names(record: &Record) -> Vec<&syn::Ident> {
    record.fields.iter().map(|f| &f.name).collect()
}
