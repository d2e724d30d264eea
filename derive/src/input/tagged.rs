//! An enum of events: one struct per variant, told apart by a field of the JSON object.

use syn::{DataEnum, DeriveInput, Error, Fields, Ident, Result, Type};

use super::{Errors, each_attribute, fault, rename_all, text};

/// An enum to derive for.
pub struct Tagged {
    pub name: Ident,
    /// The field of the JSON object that says which variant it is.
    pub tag: String,
    pub variants: Vec<Variant>,
}

/// One of its variants.
pub struct Variant {
    pub name: Ident,
    /// The struct that it holds.
    pub ty: Type,
    /// The value of the tag.
    pub key: String,
}

const TAG: &str = "an enum of events needs a tag: `#[event(tag = \"type\")]` names the field of the JSON object that says \
                   which event it is";

/// Reads the declaration; all mistakes of the variants are reported together.
pub(super) fn read(item: &DeriveInput, data: &DataEnum) -> Result<Tagged> {
    let (mut tag, mut rule) = (None, None);
    each_attribute(&item.attrs, |meta| {
        if meta.path.is_ident("tag") {
            tag = Some(text(&meta)?.value());
        } else if meta.path.is_ident("rename_all") {
            rule = Some(rename_all(&meta)?);
        } else {
            return Err(meta.error("not an attribute of an enum; expected `tag = \"…\"` or `rename_all = \"…\"`"));
        }
        Ok(())
    })?;
    let tag = tag.ok_or_else(|| Error::new(data.enum_token.span, TAG))?;
    if data.variants.is_empty() {
        return Err(Error::new(item.ident.span(), "an enum of events has at least one variant"));
    }

    let mut errors = Errors::default();
    let mut variants: Vec<Variant> = Vec::with_capacity(data.variants.len());
    for variant in &data.variants {
        let name = variant.ident.clone();
        let mut key = rule.map_or_else(|| name.to_string(), |rule| rule.apply_to_variant(&name.to_string()));
        errors.keep(each_attribute(&variant.attrs, |meta| {
            if !meta.path.is_ident("rename") {
                return Err(meta.error("not an attribute of a variant; expected `rename = \"…\"`"));
            }
            key = text(&meta)?.value();
            Ok(())
        }));
        if variants.iter().any(|other| other.key == key) {
            errors.keep(fault(name.span(), format!("two variants are called {key:?} in JSON")));
        }
        match &variant.fields {
            Fields::Unnamed(fields) if fields.unnamed.len() == 1 => {
                variants.push(Variant { name, ty: fields.unnamed[0].ty.clone(), key });
            }
            _ => {
                let message = "a variant holds one event, which is a struct of its own: `Sold(Sold)`";
                errors.keep(fault(name.span(), message));
            }
        }
    }
    errors.finish(Tagged { name: item.ident.clone(), tag, variants })
}

#[cfg(test)]
mod tests {
    use super::super::tests::errors;
    use super::super::{Declaration, read};

    #[test]
    fn reads_the_tag_and_the_names_of_variants() {
        let declaration = r#"
            #[event(tag = "kind", rename_all = "snake_case")]
            enum Change { NewHost(NewHost), #[event(rename = "gone")] LostHost(LostHost) }"#;
        let Declaration::Tagged(read) = read(&syn::parse_str(declaration).unwrap()).unwrap() else {
            panic!("an enum is tagged")
        };
        assert_eq!(read.tag, "kind");
        assert_eq!(read.variants.iter().map(|v| v.key.as_str()).collect::<Vec<_>>(), ["new_host", "gone"]);
    }

    #[test]
    fn refuses_enums_that_cannot_be_told_apart_or_hold_no_event() {
        assert!(errors("enum E { A(A) }")[0].contains("needs a tag"));
        assert!(errors("#[event(tag = \"t\")] enum E {}")[0].contains("at least one variant"));
        assert!(errors("#[event(name = \"t\")] enum E { A(A) }")[0].contains("expected `tag"));
        let all = r#"
            #[event(tag = "t")]
            enum E { A, B(B, B), C { c: u8 }, #[event(rename = "D")] X(X), D(D), #[event(time)] F(F) }"#;
        let errors = errors(all);
        assert_eq!(errors.len(), 5, "{errors:?}");
        assert!(errors[..3].iter().all(|e| e.contains("holds one event")), "{errors:?}");
        assert!(errors[3].contains("called \"D\"") && errors[4].contains("expected `rename"), "{errors:?}");
    }
}
