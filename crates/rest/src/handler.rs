//! Answers that the database makes: handlers of media types, which are functions and aggregates whose result is a domain called like
//! one (`"text/html"`, `"*/*"`), and GeoJSON.
//!
//! A handler of the relation itself comes before one of any rows, and both before what is built in; the forms of the dialect's own
//! (`application/vnd.pgrst.…`) are nobody else's. A handler that takes the relation's own rows needs them whole: with a selection it
//! is not there.

use crate::error;
use crate::media::{self, Media, RawKind};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue};
use mainstay_model::{Document, Error, Function, MediaHandler, MediaSubject, RelationId, Returns, Schema};

/// Any type, as a handler's and in `Accept`.
const ANY: &str = "*/*";

const GEOJSON: &str = "application/geo+json";

/// What an answer is of.
#[derive(Clone, Copy)]
pub(crate) enum Of<'s> {
    /// Rows of a relation, whole or not.
    Relation(RelationId, bool),
    /// What a function gives, whole or not.
    Function(&'s Function, bool),
}

/// The form of an answer, and who makes it.
#[derive(Clone, Debug)]
pub(crate) struct Chosen {
    pub media: Media,
    /// What the database makes of the rows.
    pub document: Option<Box<Document>>,
    /// The value of `Content-Type`, where the form does not say it.
    content_type: Option<HeaderValue>,
}

impl Chosen {
    /// Says what the answer is, where it says that it is anything.
    pub fn announce(&self, headers: &mut HeaderMap) {
        if let (Some(own), true) = (&self.content_type, headers.contains_key(CONTENT_TYPE)) {
            headers.insert(CONTENT_TYPE, own.clone());
        }
    }

    fn made(document: Option<Document>, content_type: &str) -> Chosen {
        let content_type = match content_type {
            ANY => "application/octet-stream".to_owned(),
            "application/json" | GEOJSON | "text/csv" | "text/plain" | "text/xml" => {
                format!("{content_type}; charset=utf-8")
            }
            other => other.to_owned(),
        };
        Chosen {
            media: Media::Raw(RawKind::Bytes),
            document: document.map(Box::new),
            content_type: HeaderValue::try_from(content_type).ok(),
        }
    }
}

impl From<Media> for Chosen {
    fn from(media: Media) -> Chosen {
        Chosen {
            media,
            document: None,
            content_type: None,
        }
    }
}

/// The form that the client wants most of those there are. Errors: PGRST107.
pub(crate) fn choose(schema: &Schema, headers: &HeaderMap, of: Of<'_>) -> Result<Chosen, Error> {
    let raw = match of {
        Of::Function(function, _) => RawKind::of(&function.returns),
        Of::Relation(..) => None,
    };
    if schema.media_handlers.is_empty() && schema.geojson.is_none() {
        return media::negotiate_with(headers, raw).map(Chosen::from);
    }
    let accept = media::accept_text(headers).unwrap_or(ANY);
    let found = media::ranges(accept).into_iter().find_map(|range| {
        if let Some(own) = media::of_dialect(range) {
            return Some(Chosen::from(own));
        }
        let name = range.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        handled(schema, of, &name).or_else(|| media::built_in(range, raw).map(Chosen::from))
    });
    found.ok_or_else(|| error::not_acceptable(accept))
}

/// By whom a media type is handled.
fn handled(schema: &Schema, of: Of<'_>, name: &str) -> Option<Chosen> {
    let (relation, function, whole) = match of {
        Of::Relation(relation, whole) => (Some(relation), None, whole),
        Of::Function(function, whole) => match &function.returns {
            Returns::Row(relation) | Returns::SetOfRow(relation) => (Some(*relation), None, whole),
            Returns::Table(_) | Returns::Record(_) => (None, None, whole),
            Returns::Scalar(_) => (None, Some(function), whole),
            Returns::SetOfScalar(_) | Returns::Void => return None,
        },
    };
    let is_its = |handler: &MediaHandler| match (&handler.subject, relation, function) {
        (MediaSubject::Rows(rows), Some(relation), _) => *rows == relation,
        (MediaSubject::Result, _, Some(function)) => {
            handler.name == function.name && handler.namespace == function.namespace
        }
        _ => false,
    };
    let is_of = |media_type: &'static str| move |handler: &&MediaHandler| &*handler.media_type == media_type;
    let handlers = &schema.media_handlers;
    let own = || {
        let mut own = handlers.iter().filter(|handler| whole && is_its(handler));
        let any = own.clone().find(is_of(ANY));
        any.or_else(|| own.find(|handler| *handler.media_type == *name))
    };
    let of_any_rows = || {
        let mut all = handlers
            .iter()
            .filter(|h| h.subject == MediaSubject::AnyRows && function.is_none());
        all.find(|handler| *handler.media_type == *name)
    };
    if let Some(handler) = own().or_else(of_any_rows) {
        let of = match handler.subject {
            MediaSubject::Rows(relation) => Some(relation),
            MediaSubject::AnyRows => None,
            MediaSubject::Result => return Some(Chosen::made(None, &handler.media_type)),
        };
        let document = Document::Aggregate {
            namespace: handler.namespace.clone(),
            name: handler.name.clone(),
            of,
            ty: handler.base.clone(),
        };
        return Some(Chosen::made(Some(document), &handler.media_type));
    }
    let namespace = schema
        .geojson
        .as_ref()
        .filter(|_| name == GEOJSON && function.is_none())?;
    Some(Chosen::made(Some(Document::GeoJson(namespace.clone())), GEOJSON))
}

#[cfg(test)]
mod tests {
    use super::*;
    use mainstay_model::Type;

    fn handler(name: &str, media_type: &str, subject: MediaSubject) -> MediaHandler {
        MediaHandler {
            namespace: "public".into(),
            name: name.into(),
            media_type: media_type.into(),
            base: Type::Text,
            subject,
        }
    }

    fn chosen(schema: &Schema, of: Of<'_>, accept: &str) -> String {
        let mut headers = HeaderMap::new();
        headers.insert(http::header::ACCEPT, accept.parse().unwrap());
        match choose(schema, &headers, of) {
            Err(error) => error.code.to_string(),
            Ok(chosen) => match chosen.document.as_deref() {
                Some(Document::Aggregate { name, .. }) => name.to_string(),
                Some(Document::GeoJson(_)) => "geojson".to_owned(),
                None => format!("{:?} {:?}", chosen.media, chosen.content_type),
            },
        }
    }

    #[test]
    fn the_nearest_handler_counts() {
        let mut schema = crate::tests::fixture_schema();
        let (table, other) = (RelationId(0), RelationId(1));
        schema.media_handlers = vec![
            handler("csv_of_table", "text/csv", MediaSubject::Rows(table)),
            handler("tabs", "text/tab-separated-values", MediaSubject::AnyRows),
            handler("object", "application/vnd.pgrst.object", MediaSubject::AnyRows),
            handler("anything", ANY, MediaSubject::Rows(other)),
        ];
        for (of, accept, want) in [
            (Of::Relation(table, true), "text/csv", "csv_of_table"),
            (Of::Relation(table, false), "text/csv", "Csv None"),
            (Of::Relation(table, false), "text/tab-separated-values", "tabs"),
            (Of::Relation(table, true), "text/html, text/csv;q=0.5", "csv_of_table"),
            (Of::Relation(table, true), "text/html", "PGRST107"),
            (Of::Relation(table, true), GEOJSON, "PGRST107"),
            (Of::Relation(table, true), "*/*", "Json { strip_nulls: false } None"),
            (
                Of::Relation(table, true),
                "application/vnd.pgrst.object",
                "Object { strip_nulls: false } None",
            ),
            (Of::Relation(other, true), "image/png", "anything"),
            (Of::Relation(other, true), "*/*", "anything"),
            (
                Of::Relation(other, true),
                "application/vnd.pgrst.object+json",
                "Object { strip_nulls: false } None",
            ),
            (Of::Relation(other, false), "image/png", "PGRST107"),
        ] {
            assert_eq!(chosen(&schema, of, accept), want, "{accept}");
        }
        schema.geojson = Some("gis".into());
        assert_eq!(chosen(&schema, Of::Relation(table, false), GEOJSON), "geojson");
    }

    #[test]
    fn a_function_may_have_a_media_type_of_its_own() {
        let mut schema = crate::tests::fixture_schema();
        let mut function = schema.functions[0].clone();
        function.returns = Returns::Scalar(Type::Bytea);
        schema.media_handlers = vec![handler(&function.name, "image/png", MediaSubject::Result)];
        let png = "Raw(Bytes) Some(\"image/png\")";
        for (accept, want) in [
            ("image/png", png),
            ("Image/PNG;q=0.9", png),
            ("image/png, */*", png),
            (
                "text/html,application/xhtml+xml,application/xml;q=0.9,image/png,*/*;q=0.8",
                png,
            ),
            ("application/json, image/png", "Json { strip_nulls: false } None"),
            ("*/*", "Json { strip_nulls: false } None"),
            ("application/octet-stream", "Raw(Bytes) None"),
            ("image/jpeg", "PGRST107"),
        ] {
            assert_eq!(chosen(&schema, Of::Function(&function, true), accept), want, "{accept}");
        }
    }
}
