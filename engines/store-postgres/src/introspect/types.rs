//! From a type's number to the model's [`Type`].

use super::found::{ColumnRow, Details, Found, TypeRow};
use mainstay_model::{DeclaredType, DomainCast, Error, Schema, Type, type_key};
use std::collections::HashMap;
use std::sync::Arc;

/// Domains over domains, arrays in rows in arrays: nothing real goes deeper.
const DEPTH_MAX: usize = 32;

/// The database's types.
pub(super) struct Types<'f> {
    found: &'f Found,
    by_oid: HashMap<u32, &'f TypeRow>,
    namespaces: HashMap<u32, &'f str>,
    /// Of composite types that are no relation's.
    fields: HashMap<u32, Vec<&'f ColumnRow>>,
}

impl<'f> Types<'f> {
    pub fn new(found: &'f Found, details: &'f Details) -> Types<'f> {
        let mut fields: HashMap<u32, Vec<&ColumnRow>> = found
            .types
            .iter()
            .filter(|t| t.composite)
            .map(|t| (t.relation, Vec::new()))
            .collect();
        for column in &details.columns {
            if let Some(fields) = fields.get_mut(&column.relation) {
                fields.push(column);
            }
        }
        Types {
            found,
            fields,
            by_oid: found.types.iter().map(|t| (t.oid, t)).collect(),
            namespaces: found.namespaces.iter().map(|n| (n.oid, &*n.name)).collect(),
        }
    }

    /// The type with a number, and the domain that it is, if it is one.
    ///
    /// # Errors
    /// XX000 for a number that no type has: the catalogs changed under us.
    pub fn resolve(&self, oid: u32, modifier: i32) -> Result<(Type, Option<Arc<str>>), Error> {
        self.resolve_at(oid, modifier, 0)
    }

    fn resolve_at(&self, oid: u32, modifier: i32, depth: usize) -> Result<(Type, Option<Arc<str>>), Error> {
        if let Some(ty) = builtin(oid, modifier) {
            return Ok((ty, None));
        }
        let row = match self.by_oid.get(&oid) {
            Some(row) if depth < DEPTH_MAX => *row,
            _ => {
                return Err(Error::internal(format!(
                    "the catalogs name a type {oid} that is not in them"
                )));
            }
        };
        let ty = match row.kind {
            b'd' => {
                let (base, _) = self.resolve_at(row.base, row.base_modifier, depth + 1)?;
                return Ok((base, Some(self.key(row))));
            }
            b'e' => Type::Enum(self.key(row)),
            b'c' => Type::Row(self.key(row)),
            // An array takes its element's modifier.
            _ if row.element != 0 => Type::Array(Box::new(self.resolve_at(row.element, modifier, depth + 1)?.0)),
            _ => Type::Other(row.written.clone().unwrap_or_else(|| self.key(row))),
        };
        Ok((ty, None))
    }

    /// Whether a type is a stand-in that no value from outside has, and how it is called.
    pub fn pseudo(&self, oid: u32) -> Option<Arc<str>> {
        let row = self.by_oid.get(&oid)?;
        (row.kind == b'p').then(|| row.name.clone())
    }

    /// The relation whose row a type is, through domains.
    pub fn relation(&self, oid: u32) -> Option<u32> {
        let row = self.base(oid)?;
        (row.relation != 0).then_some(row.relation)
    }

    /// The media type that a domain is named after.
    pub fn media_type(&self, oid: u32) -> Option<Arc<str>> {
        let row = self.by_oid.get(&oid).filter(|row| row.kind == b'd')?;
        let token = |text: &str| {
            let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '+' | '-');
            !text.is_empty() && text.chars().all(allowed)
        };
        let is_media = row.name.split_once('/').is_some_and(|(a, b)| token(a) && token(b)) || &*row.name == "*/*";
        is_media.then(|| row.name.to_lowercase().into())
    }

    /// The domain's own default and whether it forbids NULL, for a column that says nothing of its own.
    pub fn domain(&self, oid: u32) -> Option<(Option<&'f str>, bool)> {
        let row = self.by_oid.get(&oid).filter(|row| row.kind == b'd')?;
        Some((row.default.as_deref(), row.not_null))
    }

    fn base(&self, oid: u32) -> Option<&'f TypeRow> {
        let mut row = *self.by_oid.get(&oid)?;
        for _ in 0..DEPTH_MAX {
            if row.kind != b'd' {
                return Some(row);
            }
            row = self.by_oid.get(&row.base)?;
        }
        None
    }

    fn key(&self, row: &TypeRow) -> Arc<str> {
        match self.namespaces.get(&row.namespace) {
            Some(namespace) => type_key(namespace, &row.name),
            None => row.name.clone(),
        }
    }

    /// Fills in the schema's enums, domains, composite types, ranges and the domains' representations.
    pub fn declare(&self, schema: &mut Schema) -> Result<(), Error> {
        for (oid, label) in &self.found.labels {
            let Some(row) = self.by_oid.get(oid) else { continue };
            let labels = schema.enums.entry(self.key(row)).or_insert_with(|| Arc::from([]));
            *labels = labels.iter().cloned().chain([label.clone()]).collect();
        }
        for row in self
            .found
            .types
            .iter()
            .filter(|t| self.namespaces.contains_key(&t.namespace))
        {
            let declared = match row.kind {
                b'd' => DeclaredType::Domain(self.resolve(row.base, row.base_modifier)?.0),
                b'r' => DeclaredType::Range,
                b'c' if row.composite => DeclaredType::Composite(self.fields(row.relation)?),
                _ => continue,
            };
            schema.types.insert(self.key(row), declared);
        }
        for cast in &self.found.casts {
            let (Some(source), Some(target)) = (self.by_oid.get(&cast.source), self.by_oid.get(&cast.target)) else {
                continue;
            };
            schema.representations.push(DomainCast {
                source: self.key(source),
                target: self.key(target),
                namespace: cast.namespace.clone(),
                name: cast.name.clone(),
            });
        }
        Ok(())
    }

    /// The columns of a composite type that is no relation's; none of anything else.
    pub fn fields(&self, relation: u32) -> Result<Vec<(Arc<str>, Type)>, Error> {
        let own = self.fields.get(&relation).map_or(&[] as &[&ColumnRow], Vec::as_slice);
        own.iter()
            .map(|c| Ok((c.name.clone(), self.resolve(c.ty, c.modifier)?.0)))
            .collect()
    }
}

/// Types whose numbers are the same in every database, with their modifier.
fn builtin(oid: u32, modifier: i32) -> Option<Type> {
    // The modifier of what has a length counts four bytes of header.
    let length = u32::try_from(modifier.saturating_sub(4)).ok().filter(|_| modifier >= 4);
    Some(match oid {
        16 => Type::Bool,
        17 => Type::Bytea,
        19 | 25 => Type::Text,
        20 => Type::Int8,
        21 => Type::Int2,
        23 => Type::Int4,
        114 => Type::Json,
        700 => Type::Float4,
        701 => Type::Float8,
        // By a name that nobody reads: how amounts are written is the server's locale's to say.
        790 => Type::Other("pg_catalog.money".into()),
        1042 => match length {
            Some(length) => Type::Char(length),
            None => Type::Other("bpchar".into()),
        },
        1043 => Type::Varchar(length),
        1082 => Type::Date,
        1083 => Type::Time,
        1114 => Type::Timestamp,
        1184 => Type::TimestampTz,
        1186 => Type::Interval,
        1700 => Type::Numeric(length.and_then(|packed| {
            let scale = ((packed & 0x7ff) ^ 1024) as i32 - 1024;
            Some((u16::try_from(packed >> 16).ok()?, u16::try_from(scale).ok()?))
        })),
        2278 => Type::Void,
        2249 => Type::Row("record".into()),
        2950 => Type::Uuid,
        3802 => Type::Jsonb,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modifiers() {
        let cases = [
            (1700, -1, Type::Numeric(None)),
            (1700, ((10 << 16) | 2) + 4, Type::Numeric(Some((10, 2)))),
            (1700, ((1000 << 16) | 1000) + 4, Type::Numeric(Some((1000, 1000)))),
            // A negative scale, numeric(3,-2), is no scale of the model's.
            (1700, ((3 << 16) | (0x7ff & -2)) + 4, Type::Numeric(None)),
            (1043, 44, Type::Varchar(Some(40))),
            (1043, -1, Type::Varchar(None)),
            (1042, 5, Type::Char(1)),
            (1042, -1, Type::Other("bpchar".into())),
            (25, -1, Type::Text),
            (790, -1, Type::Other("pg_catalog.money".into())),
        ];
        for (oid, modifier, wanted) in cases {
            assert_eq!(builtin(oid, modifier), Some(wanted), "{oid} {modifier}");
        }
    }
}
