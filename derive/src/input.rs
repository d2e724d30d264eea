//! The declaration as written, checked: what to derive for, or an error that points at the mistake.

mod tagged;

use proc_macro2::Span;
use syn::meta::ParseNestedMeta;
use syn::spanned::Spanned;
use syn::{Attribute, Data, DeriveInput, Error, Fields, Ident, LitStr, Result, Type};

pub use self::tagged::{Tagged, Variant};
use crate::names::Rule;

/// What to derive for.
pub enum Declaration {
    /// A struct.
    Record(Record),
    /// An enum of structs.
    Tagged(Tagged),
}

/// A struct to derive for.
pub struct Record {
    pub name: Ident,
    pub fields: Vec<Field>,
}

/// One of its fields.
pub struct Field {
    pub name: Ident,
    pub ty: Type,
    /// Its name in JSON.
    pub key: String,
    /// It is the event time.
    pub time: bool,
    /// It may be missing.
    pub default: bool,
}

/// Reads the declaration; all mistakes of the fields, or of the variants, are reported together.
pub fn read(item: &DeriveInput) -> Result<Declaration> {
    if !item.generics.params.is_empty() {
        let message = "an event has no generic parameters and no lifetimes: it owns its fields, of fixed types";
        return Err(Error::new(item.generics.span(), message));
    }
    match &item.data {
        Data::Struct(data) => record(item, &data.fields).map(Declaration::Record),
        Data::Enum(data) => tagged::read(item, data).map(Declaration::Tagged),
        Data::Union(data) => {
            Err(Error::new(data.union_token.span, "an event is a struct with named fields or an enum, not a union"))
        }
    }
}

fn record(item: &DeriveInput, fields: &Fields) -> Result<Record> {
    let Fields::Named(fields) = fields else {
        return Err(Error::new(item.ident.span(), "an event is a struct with named fields"));
    };
    let fields = &fields.named;
    let mut rule = None;
    each_attribute(&item.attrs, |meta| {
        if !meta.path.is_ident("rename_all") {
            return Err(meta.error("not an attribute of an event; expected `rename_all = \"…\"`"));
        }
        rule = Some(rename_all(&meta)?);
        Ok(())
    })?;

    let mut errors = Errors::default();
    let mut read = Vec::with_capacity(fields.len());
    for field in fields {
        let name = field.ident.clone().expect("a named field has a name");
        let mut attributes = FieldAttributes::default();
        errors.keep(attributes.read(&field.attrs));
        let plain = name.to_string();
        let plain = plain.strip_prefix("r#").unwrap_or(&plain);
        let key = attributes.rename.unwrap_or_else(|| rule.map_or_else(|| plain.to_owned(), |rule| rule.apply(plain)));
        read.push(Field { name, ty: field.ty.clone(), key, time: attributes.time, default: attributes.default });
    }
    for (i, field) in read.iter().enumerate() {
        let before = &read[..i];
        if before.iter().any(|other| other.key == field.key) {
            errors.keep(fault(field.name.span(), format!("two fields are called {:?} in JSON", field.key)));
        }
        if field.time && before.iter().any(|other| other.time) {
            errors.keep(fault(field.name.span(), "a second event time: a record has one, or none"));
        }
    }
    errors.finish(Record { name: item.ident.clone(), fields: read })
}

/// Every entry of every `#[event(…)]`.
fn each_attribute(attributes: &[Attribute], mut read: impl FnMut(ParseNestedMeta<'_>) -> Result<()>) -> Result<()> {
    let mut ours = attributes.iter().filter(|a| a.path().is_ident("event"));
    ours.try_for_each(|attribute| attribute.parse_nested_meta(&mut read))
}

/// The text of `name = "text"`.
fn text(meta: &ParseNestedMeta<'_>) -> Result<LitStr> {
    meta.value()?.parse()
}

fn rename_all(meta: &ParseNestedMeta<'_>) -> Result<Rule> {
    let name = text(meta)?;
    Rule::parse(&name.value()).map_err(|message| Error::new(name.span(), message))
}

#[derive(Default)]
struct FieldAttributes {
    time: bool,
    default: bool,
    rename: Option<String>,
}

impl FieldAttributes {
    fn read(&mut self, attributes: &[Attribute]) -> Result<()> {
        each_attribute(attributes, |meta| {
            if meta.path.is_ident("time") {
                self.time = true;
            } else if meta.path.is_ident("default") {
                self.default = true;
            } else if meta.path.is_ident("rename") {
                self.rename = Some(text(&meta)?.value());
            } else {
                let message = "not an attribute of a field; expected `time`, `rename = \"…\"` or `default`";
                return Err(meta.error(message));
            }
            Ok(())
        })?;
        if self.time && self.default {
            return fault(attributes[0].span(), "the event time cannot be missing: remove `default`");
        }
        Ok(())
    }
}

fn fault(span: Span, message: impl std::fmt::Display) -> Result<()> {
    Err(Error::new(span, message))
}

/// The mistakes so far.
#[derive(Default)]
struct Errors(Option<Error>);

impl Errors {
    fn keep(&mut self, result: Result<()>) {
        match (result, &mut self.0) {
            (Err(e), Some(all)) => all.combine(e),
            (Err(e), none) => *none = Some(e),
            (Ok(()), _) => {}
        }
    }

    fn finish<T>(self, value: T) -> Result<T> {
        self.0.map_or(Ok(value), Err)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn errors(declaration: &str) -> Vec<String> {
        let item = syn::parse_str(declaration).unwrap();
        read(&item).err().unwrap().into_iter().map(|e| e.to_string()).collect()
    }

    #[test]
    fn reads_names_and_attributes() {
        let declaration = r#"
            #[event(rename_all = "camelCase")]
            struct Login {
                #[event(time, rename = "@timestamp")] at: EventTime,
                source_ip: IpAddr,
                #[event(default)] r#type: Text,
            }"#;
        let read = read(&syn::parse_str(declaration).unwrap()).unwrap();
        let Declaration::Record(record) = read else { panic!("a struct is a record") };
        let fields: Vec<_> = record.fields.iter().map(|f| (f.key.as_str(), f.time, f.default)).collect();
        assert_eq!(fields, [("@timestamp", true, false), ("sourceIp", false, false), ("type", false, true)]);
    }

    #[test]
    fn refuses_what_is_not_a_struct_of_named_fields() {
        assert!(errors("union U { a: u8 }")[0].contains("not a union"));
        assert!(errors("struct T(u8);")[0].contains("named fields"));
        assert!(errors("struct U;")[0].contains("named fields"));
        assert!(errors("struct G<T> { a: T }")[0].contains("generic"));
        assert!(errors("struct L<'a> { a: &'a str }")[0].contains("lifetimes"));
    }

    #[test]
    fn reports_every_mistake_of_the_fields() {
        let declaration = r#"
            struct S {
                #[event(time)] a: EventTime,
                #[event(time)] b: EventTime,
                #[event(rename = "a")] c: u8,
                #[event(nmae = "d")] d: u8,
            }"#;
        let errors = errors(declaration);
        assert_eq!(errors.len(), 3, "{errors:?}");
        assert!(errors[0].contains("expected `time`"), "{errors:?}");
        assert!(errors[1].contains("second event time"), "{errors:?}");
        assert!(errors[2].contains("called \"a\""), "{errors:?}");
    }

    #[test]
    fn refuses_unknown_attributes_and_rules() {
        assert!(errors("#[event(crate = \"x\")] struct S { a: u8 }")[0].contains("rename_all"));
        assert!(errors("#[event(rename_all = \"Camel\")] struct S { a: u8 }")[0].contains("camelCase"));
        assert!(errors("struct S { #[event(time, default)] a: EventTime }")[0].contains("cannot be missing"));
    }
}
