//! What all of the writing shares: the schema, the slots so far, which rows are in scope, and what they are called.

use super::name::{is_binary, named_type, parameter_type, parameter_type_name, quote_identifier, type_name};
use super::{Options, Slot, SlotValue};
use mainstay_model::{
    ColumnRef, Embed, Error, FunctionId, Item, QueryShape, RelationId, RelationRef, Result, Returns, Schema, SourceId,
    Type,
};
use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;
use std::sync::Arc;

/// How deep expressions and subqueries may be nested, so that no input exhausts the stack.
const DEPTH_MAX: usize = 200;

/// Names and types.
pub(super) type Columns = Vec<(Arc<str>, Type)>;

/// A row source in scope.
pub(super) struct RowSource {
    /// What precedes its columns; empty where they are written bare.
    pub qualifier: String,
    pub columns: Vec<(Arc<str>, Type)>,
    /// The composite type that a row must be cast to, when the alias alone has another.
    pub row_type: Option<String>,
    /// Which columns were referred to.
    pub used: RefCell<BTreeSet<u32>>,
}

impl RowSource {
    pub fn new(alias: &str, columns: Vec<(Arc<str>, Type)>) -> RowSource {
        RowSource {
            qualifier: alias.to_owned(),
            columns,
            row_type: None,
            used: RefCell::default(),
        }
    }

    /// A column as an expression.
    pub fn column(&self, index: u32) -> Result<String> {
        let (name, _) = self
            .columns
            .get(index as usize)
            .ok_or_else(|| Error::internal(format!("a row source has no column {index}")))?;
        self.used.borrow_mut().insert(index);
        let name = quote_identifier(name);
        Ok(if self.qualifier.is_empty() {
            name
        } else {
            format!("{}.{name}", self.qualifier)
        })
    }

    /// The whole row as an expression.
    pub fn row(&self) -> Result<String> {
        let Some(row_type) = &self.row_type else {
            self.used.borrow_mut().extend(0..self.columns.len() as u32);
            return Ok(format!("({}.*)", self.qualifier));
        };
        let columns = (0..self.columns.len() as u32)
            .map(|at| self.column(at))
            .collect::<Result<Vec<_>>>()?;
        Ok(format!("ROW({})::{row_type}", columns.join(", ")))
    }
}

/// A level of a query: the row at hand, and what was joined to it for the sake of related values.
pub(super) struct Level<'a> {
    pub shape: &'a QueryShape,
    pub source: Rc<RowSource>,
    /// Related rows whose values are wanted one by one.
    pub laterals: RefCell<Vec<Rc<Lateral<'a>>>>,
    /// What else was joined, as it follows FROM.
    pub beside: RefCell<Vec<String>>,
}

/// The one related row of an embed, joined beside the row at hand.
pub(super) struct Lateral<'a> {
    /// Which embed of the level.
    pub index: u16,
    pub embed: &'a Embed,
    pub alias: String,
    /// FROM of the related rows, and the conditions that tie them to the row at hand.
    pub from: String,
    pub ties: Vec<String>,
    pub scope: Scope<'a>,
    pub level: Rc<Level<'a>>,
    /// What it yields: `c0`, `c1` ….
    pub columns: RefCell<Vec<String>>,
}

/// What names mean.
#[derive(Clone, Default)]
pub(super) struct Scope<'a> {
    pub sources: HashMap<SourceId, Rc<RowSource>>,
    /// Members of WITH: their names and columns.
    pub common: HashMap<u32, (String, Rc<Columns>)>,
    pub level: Option<Rc<Level<'a>>>,
}

/// Writes one statement.
pub(super) struct Renderer<'a> {
    pub schema: &'a Schema,
    pub options: Options,
    /// Constants are literals, and parameters a function's arguments.
    pub definition: bool,
    /// What a token says is asked for once per statement and not per row.
    pub claims_once: bool,
    pub slots: Vec<Slot>,
    pub scope: Scope<'a>,
    aliases: usize,
    depth: Rc<Cell<usize>>,
}

impl<'a> Renderer<'a> {
    pub fn new(schema: &'a Schema, options: Options) -> Renderer<'a> {
        Renderer {
            schema,
            options,
            definition: false,
            claims_once: false,
            slots: Vec::new(),
            scope: Scope::default(),
            aliases: 0,
            depth: Rc::default(),
        }
    }

    pub fn definition(schema: &'a Schema) -> Renderer<'a> {
        Renderer {
            definition: true,
            ..Renderer::new(schema, Options::default())
        }
    }

    /// A name for a row source that no other in the statement has.
    pub fn alias(&mut self) -> String {
        self.aliases += 1;
        // In definitions tables keep their own names for the row at hand, which should not be hidden.
        format!("{}{}", if self.definition { "_t" } else { "t" }, self.aliases - 1)
    }

    /// A parameter with its type. The same value is the same parameter, so that equal expressions stay equal.
    pub fn slot(&mut self, value: SlotValue, ty: &Type) -> Result<String> {
        match ty {
            Type::Row(_) => {
                let text = self.slot(value, &Type::Text)?;
                return Ok(row_of_text(&text, ty));
            }
            Type::Array(element) if matches!(**element, Type::Row(_)) => {
                let texts = self.slot(value, &Type::Array(Box::new(Type::Text)))?;
                return Ok(rows_of_texts(&texts, element));
            }
            _ => {}
        }
        let slot = Slot {
            value,
            ty: parameter_type(ty),
            binary: is_binary(ty),
        };
        // Cells are never equal, and there may be many.
        let may_recur = matches!(slot.value, SlotValue::Param(_) | SlotValue::Literal(_));
        let known = if may_recur {
            self.slots.iter().position(|s| *s == slot)
        } else {
            None
        };
        let at = match known {
            Some(at) => at,
            None => {
                if self.slots.len() >= usize::from(u16::MAX) {
                    return Err(Error::new("54000", "more than 65535 values in one statement")
                        .hint("Send fewer rows at a time, or give every row the same columns."));
                }
                self.slots.push(slot);
                self.slots.len() - 1
            }
        };
        Ok(match ty {
            Type::Unknown => format!("${}", at + 1),
            ty => format!("${}::{}", at + 1, parameter_type_name(ty)),
        })
    }

    /// Runs `inside` in another scope.
    pub fn scoped<T>(&mut self, scope: Scope<'a>, inside: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let kept = std::mem::replace(&mut self.scope, scope);
        let result = inside(self);
        self.scope = kept;
        result
    }

    /// Runs `inside` one level deeper. Error: 54001.
    pub fn deeper<T>(&mut self, inside: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let depth = self.depth.get() + 1;
        if depth > DEPTH_MAX {
            return Err(Error::new("54001", "the statement is nested too deep"));
        }
        self.depth.set(depth);
        let result = inside(self);
        self.depth.set(depth - 1);
        result
    }

    pub fn column(&self, column: ColumnRef) -> Result<String> {
        self.source(column.source)?.column(column.column)
    }

    pub fn source(&self, source: SourceId) -> Result<&Rc<RowSource>> {
        self.scope
            .sources
            .get(&source)
            .ok_or_else(|| Error::internal(format!("row source {} is not in scope", source.0)))
    }

    /// A relation's name, qualified.
    pub fn table(&self, relation: RelationId) -> String {
        let relation = self.schema.relation(relation);
        qualified(&relation.namespace, &relation.name)
    }

    /// A function's name, qualified.
    pub fn function(&self, function: FunctionId) -> String {
        let function = self.schema.function(function);
        qualified(&function.namespace, &function.name)
    }

    /// A relation's rows under an alias.
    pub fn table_source(&self, relation: RelationId, alias: &str) -> RowSource {
        RowSource::new(alias, columns_of(self.schema, relation))
    }

    /// The conditions that authorisation has put on a relation. Error: 0A000 when it has replaced the relation: views are expanded, and
    /// their owners' rights applied, by the database.
    pub fn security(&mut self, relation: &RelationRef, source: &Rc<RowSource>) -> Result<Option<String>> {
        if relation.expansion.is_some() {
            return Err(Error::unsupported(
                "PostgreSQL expands views itself; an expanded one cannot be handed to it",
            ));
        }
        let Some(security) = &relation.security else {
            return Ok(None);
        };
        // It belongs to the plan, not to what is borrowed here: nothing of a level may be reached from it.
        let mut inner = Renderer {
            schema: self.schema,
            options: self.options,
            definition: self.definition,
            claims_once: self.claims_once,
            slots: std::mem::take(&mut self.slots),
            scope: Scope {
                sources: HashMap::from([(SourceId::SELF, source.clone())]),
                ..Scope::default()
            },
            aliases: self.aliases,
            depth: self.depth.clone(),
        };
        let condition = inner.expr(security);
        self.aliases = inner.aliases;
        self.slots = inner.slots;
        condition.map(Some)
    }

    /// What a function's result looks like as rows: its columns, and whether the source needs an alias for its one column.
    pub fn function_columns(&self, function: FunctionId) -> (Vec<(Arc<str>, Type)>, bool) {
        let declared = self.schema.function(function);
        match &declared.returns {
            Returns::Row(relation) | Returns::SetOfRow(relation) => (columns_of(self.schema, *relation), false),
            Returns::Table(columns) | Returns::Record(columns) => (columns.clone(), false),
            Returns::Scalar(ty) | Returns::SetOfScalar(ty) => (vec![(declared.name.clone(), ty.clone())], true),
            Returns::Void => (Vec::new(), false),
        }
    }
}

/// A row from its text, which is a JSON object where it came in a JSON body, else Postgres' own form of a row.
pub(super) fn row_of_text(text: &str, ty: &Type) -> String {
    let name = type_name(ty);
    format!(
        "(CASE WHEN {text} LIKE '{{%' THEN json_populate_record(NULL::{name}, ({text})::json) ELSE ({text})::{name} END)"
    )
}

/// As above, an array of them from an array of texts.
fn rows_of_texts(texts: &str, element: &Type) -> String {
    let rows = row_of_text("x", element);
    format!("(CASE WHEN {texts} IS NOT NULL THEN ARRAY(SELECT {rows} FROM unnest({texts}) AS x) END)")
}

/// `"schema"."name"`
pub(super) fn qualified(namespace: &str, name: &str) -> String {
    format!("{}.{}", quote_identifier(namespace), quote_identifier(name))
}

/// A sequence by the name that the schema has for it.
pub(super) fn sequence_name(schema: &Schema, key: &str) -> String {
    let default = schema.namespaces.first().map_or("public", |n| n);
    match key.split_once('.') {
        Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() => qualified(namespace, name),
        _ if key.starts_with('"') => named_type(key),
        _ => qualified(default, key),
    }
}

/// A relation's columns.
pub(super) fn columns_of(schema: &Schema, relation: RelationId) -> Vec<(Arc<str>, Type)> {
    schema
        .relation(relation)
        .columns
        .iter()
        .map(|c| (c.name.clone(), c.ty.clone()))
        .collect()
}

/// The n-th embed of a shape.
pub(super) fn nth_embed(shape: &QueryShape, index: u16) -> Result<&Embed> {
    shape
        .select
        .iter()
        .filter_map(|item| match item {
            Item::Embed(embed) => Some(embed),
            Item::Field(_) => None,
        })
        .nth(usize::from(index))
        .ok_or_else(|| Error::internal(format!("the query has no embed {index}")))
}

/// ` WHERE …`, or nothing.
pub(super) fn where_clause(conditions: &[String]) -> String {
    if conditions.is_empty() {
        String::new()
    } else {
        format!(" WHERE {}", conditions.join(" AND "))
    }
}
