//! Rows made into one value by the database: an aggregate over the rows of a query, and how many they were.

use super::Output;
use super::name::quote_identifier;
use super::render::qualified;
use mainstay_model::{Document, Schema, Type};

/// What the query whose rows are made into a document is called.
pub(super) const ROWS: &str = "\"?rows\"";

/// The name of the column that says how many rows there were; it is not shown.
pub const ROWS_OF_DOCUMENT: &str = "rows of the document";

/// The terms over [`ROWS`], and the columns that they are.
pub(super) fn terms(schema: &Schema, document: &Document) -> (Vec<String>, Vec<Output>) {
    let (sql, ty) = match document {
        Document::Aggregate {
            namespace,
            name,
            of,
            ty,
        } => {
            let row = match of {
                Some(relation) => {
                    let relation = schema.relation(*relation);
                    format!("{ROWS}::{}", qualified(&relation.namespace, &relation.name))
                }
                None => ROWS.to_owned(),
            };
            let value = format!("{}({row})", qualified(namespace, name));
            match ty {
                Type::Bytea => (value, Type::Bytea),
                _ => (format!("({value})::text"), Type::Text),
            }
        }
        Document::GeoJson(namespace) => {
            let feature = format!("{}.st_asgeojson({ROWS})", quote_identifier(namespace));
            let features = format!("coalesce(json_agg({feature}::json), '[]')");
            (
                format!("json_build_object('type', 'FeatureCollection', 'features', {features})::text"),
                Type::Text,
            )
        }
    };
    let column = |name: &str, ty: Type, shown: bool| Output {
        name: name.into(),
        ty,
        shown,
    };
    (
        vec![sql, "count(*)".to_owned()],
        vec![
            column("document", ty, true),
            column(ROWS_OF_DOCUMENT, Type::Int8, false),
        ],
    )
}
