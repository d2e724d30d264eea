//! The implementations for an enum of events.
//!
//! In JSON the tag stands among the fields of the event; formats that tell fields apart by their position, such as the one
//! between processes, have the number of the variant before the event. The general reader asks for the tag first and then
//! reads the event as any other: what it says of a fault is what it would say of the struct.

use proc_macro2::{Literal, TokenStream};
use quote::{format_ident, quote, quote_spanned};

use super::span;
use crate::input::{Tagged, Variant};
use crate::names::quoted;

/// All implementations for `tagged`.
pub fn expand(tagged: &Tagged) -> TokenStream {
    let parts = [std_traits(tagged), serialize(tagged), deserialize(tagged), json(tagged), event(tagged)];
    quote!(#(#parts)*)
}

/// One arm of a match for each variant.
fn arms<'a>(
    tagged: &'a Tagged,
    arm: impl Fn(usize, &'a Variant) -> TokenStream + 'a,
) -> impl Iterator<Item = TokenStream> + 'a {
    tagged.variants.iter().enumerate().map(move |(i, variant)| arm(i, variant))
}

fn std_traits(tagged: &Tagged) -> TokenStream {
    let name = &tagged.name;
    let clones = arms(
        tagged,
        |_, Variant { name, .. }| quote!(Self::#name(__event) => Self::#name(::core::clone::Clone::clone(__event))),
    );
    let shown = arms(tagged, |_, Variant { name, .. }| {
        let title = name.to_string();
        quote!(Self::#name(__event) => f.debug_tuple(#title).field(__event).finish())
    });
    quote! {
        #[automatically_derived]
        impl ::core::clone::Clone for #name {
            #[inline]
            fn clone(&self) -> Self {
                match self { #(#clones,)* }
            }
        }

        #[automatically_derived]
        impl ::core::fmt::Debug for #name {
            fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {
                match self { #(#shown,)* }
            }
        }
    }
}

fn serialize(tagged: &Tagged) -> TokenStream {
    let (name, tag, title) = (&tagged.name, &tagged.tag, tagged.name.to_string());
    let mirrored = arms(tagged, |_, Variant { name, ty, key }| quote!(#[serde(rename = #key)] #name(&'a #ty)));
    let written = arms(tagged, |_, Variant { name, .. }| quote!(Self::#name(__event) => __Tagged::#name(__event)));
    let numbered = arms(tagged, |i, Variant { name, key, .. }| {
        let number = Literal::u32_suffixed(i as u32);
        quote!(Self::#name(__event) => __serializer.serialize_newtype_variant(#title, #number, #key, __event))
    });
    quote! {
        #[automatically_derived]
        impl __tidewatch::serde::Serialize for #name {
            fn serialize<__S: __tidewatch::serde::Serializer>(
                &self,
                __serializer: __S,
            ) -> ::core::result::Result<__S::Ok, __S::Error> {
                #[derive(::tidewatch::__private::serde::Serialize)]
                #[serde(crate = "::tidewatch::__private::serde", rename = #title, tag = #tag)]
                enum __Tagged<'a> { #(#mirrored,)* }

                if __serializer.is_human_readable() {
                    __tidewatch::serde::Serialize::serialize(&match self { #(#written,)* }, __serializer)
                } else {
                    match self { #(#numbered,)* }
                }
            }
        }
    }
}

fn deserialize(tagged: &Tagged) -> TokenStream {
    let (name, tag, title) = (&tagged.name, &tagged.tag, tagged.name.to_string());
    let mirrored = || arms(tagged, |_, Variant { name, ty, key }| quote!(#[serde(rename = #key)] #name(#ty)));
    let (with_tag, with_number) = (mirrored(), mirrored());
    let read = |mirror: &'static str| {
        let mirror = format_ident!("{mirror}");
        arms(tagged, move |_, Variant { name, .. }| quote!(#mirror::#name(__event) => Self::#name(__event)))
    };
    let (from_tag, from_number) = (read("__Tagged"), read("__Numbered"));
    quote! {
        #[automatically_derived]
        impl<'de> __tidewatch::serde::Deserialize<'de> for #name {
            fn deserialize<__D: __tidewatch::serde::Deserializer<'de>>(
                __deserializer: __D,
            ) -> ::core::result::Result<Self, __D::Error> {
                #[derive(::tidewatch::__private::serde::Deserialize)]
                #[serde(crate = "::tidewatch::__private::serde", rename = #title, tag = #tag)]
                enum __Tagged { #(#with_tag,)* }

                #[derive(::tidewatch::__private::serde::Deserialize)]
                #[serde(crate = "::tidewatch::__private::serde", rename = #title)]
                enum __Numbered { #(#with_number,)* }

                ::core::result::Result::Ok(if __deserializer.is_human_readable() {
                    match <__Tagged as __tidewatch::serde::Deserialize>::deserialize(__deserializer)? { #(#from_tag,)* }
                } else {
                    match <__Numbered as __tidewatch::serde::Deserialize>::deserialize(__deserializer)? {
                        #(#from_number,)*
                    }
                })
            }
        }
    }
}

/// The quick reader expects the tag before the fields of the event.
fn json(tagged: &Tagged) -> TokenStream {
    let (name, tag) = (&tagged.name, &tagged.tag);
    let quick = arms(tagged, |_, Variant { name, ty, key }| {
        let head = Literal::byte_string(format!("{{{}:{}", quoted(tag), quoted(key)).as_bytes());
        quote! {
            if __cursor.literal(#head) {
                return match <#ty as __tidewatch::JsonRecord>::read_behind_tag(__cursor) {
                    ::core::option::Option::Some(__event) => ::core::option::Option::Some(Self::#name(__event)),
                    ::core::option::Option::None => ::core::option::Option::None,
                };
            }
        }
    });
    let tags = arms(tagged, |_, Variant { name, key, .. }| quote!(#[serde(rename = #key)] #name));
    let general = arms(
        tagged,
        |_, Variant { name, ty, .. }| quote!(__Tag::#name => <#ty as __tidewatch::JsonRecord>::read_general(__text).map(Self::#name)),
    );
    let checks = arms(
        tagged,
        |_, Variant { ty, .. }| quote_spanned!(span(ty)=> const _: () = __tidewatch::assert_no_key(<#ty as __tidewatch::JsonRecord>::KEYS, #tag);),
    );
    quote! {
        #[automatically_derived]
        impl __tidewatch::JsonRecord for #name {
            const KEYS: &'static [&'static str] = &[#tag];

            #[inline(always)]
            fn read_fast(__cursor: &mut __tidewatch::Cursor<'_>) -> ::core::option::Option<Self> {
                #(#quick)*
                ::core::option::Option::None
            }

            fn read_general(__text: &str) -> ::core::result::Result<Self, __tidewatch::Rejection> {
                #[derive(::tidewatch::__private::serde::Deserialize)]
                #[serde(crate = "::tidewatch::__private::serde")]
                enum __Tag { #(#tags,)* }

                #[derive(::tidewatch::__private::serde::Deserialize)]
                #[serde(crate = "::tidewatch::__private::serde")]
                struct __Head {
                    #[serde(rename = #tag)]
                    tag: __Tag,
                }
                impl __tidewatch::JsonRecord for __Head {}

                match <__Head as __tidewatch::JsonRecord>::read_general(__text)?.tag { #(#general,)* }
            }
        }

        #(#checks)*
    }
}

fn event(tagged: &Tagged) -> TokenStream {
    let name = &tagged.name;
    let times = arms(
        tagged,
        |_, Variant { name, ty, .. }| quote_spanned!(span(ty)=> Self::#name(__event) => <#ty as __tidewatch::Event>::event_time(__event)),
    );
    // An event without the field has the clock of all such.
    let fields = tagged.variants.first().map(|Variant { ty, .. }| quote!(<#ty as __tidewatch::Decode>::clock_fields()));
    let fields = fields.unwrap_or_else(|| quote!(&[]));
    let named = arms(
        tagged,
        |_, Variant { name, .. }| quote!(Self::#name(__event) => __tidewatch::clock_named(__event, __name)),
    );
    let clocks = quote! {
        fn clock_fields() -> &'static [&'static ::core::primitive::str] {
            #fields
        }

        fn clock(&self, __field: ::core::primitive::usize) -> ::core::primitive::u64 {
            let __name = Self::clock_fields()[__field];
            match self { #(#named,)* }
        }
    };
    let decode =
        super::decode_json(name, &quote!(::core::option::Option::Some(__tidewatch::Event::event_time(self))), &clocks);
    quote! {
        #[automatically_derived]
        impl __tidewatch::Event for #name {
            #[inline]
            fn event_time(&self) -> __tidewatch::EventTime {
                match self { #(#times,)* }
            }
        }

        #decode
    }
}
