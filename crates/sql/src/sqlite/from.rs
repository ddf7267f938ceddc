//! Row sources: tables, views, subqueries, functions and joins, with the security that authorisation put on them.

use super::barrier::{Barrier, fence};
use super::render::{Argument, Renderer, RowSource, Scope, SourceColumn, Term, column_digits};
use super::rowid_name;
use super::select::{RenderedSelect, is_volatile};
use super::storage::{Form, column_form};
use mainstay_model::{
    Error, Expr, FromItem, FunctionId, JoinKind, RelationRef, Result, Returns, Rewrite, Series, SourceId, Statement,
    Type, rewrite_expr, rewrite_select,
};
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;

impl<'a> Renderer<'a> {
    /// The items of a FROM clause, and which of their rows are asked for.
    pub fn from(&mut self, items: &[FromItem]) -> Result<(String, Barrier)> {
        let mut barrier = Barrier::default();
        let mut parts = Vec::new();
        let outside = self.scope.sources.keys().copied().collect();
        let kept = std::mem::replace(&mut self.outside, outside);
        let guards = std::mem::take(&mut self.guards);
        for (at, item) in items.iter().enumerate() {
            let sql = self.from_item(item, false, true, &mut barrier)?;
            let nested = at > 0 && matches!(item, FromItem::Join { .. });
            parts.push(if nested { format!("({sql})") } else { sql });
        }
        self.outside = kept;
        self.guards = guards;
        Ok((parts.join(", "), barrier))
    }

    /// One item. `nullable`: it stands on the outer side of a join. `inline`: its security may be conditions of `barrier`.
    fn from_item(&mut self, item: &FromItem, nullable: bool, inline: bool, barrier: &mut Barrier) -> Result<String> {
        match item {
            FromItem::Relation { relation, source } => {
                let alias = self.alias();
                let (sql, rows) = self.relation(relation, &alias, nullable, inline, barrier)?;
                self.scope.sources.insert(*source, Rc::new(rows));
                Ok(sql)
            }
            // What the authorisation inlines may refer to its neighbours without being marked so: `lateral` decides nothing.
            FromItem::Subquery { select, source, .. } => {
                let correlated = self.mentions_neighbours(|m| rewrite_select(select, m).map(|_| ()))?;
                let secured = self.secured;
                let mut rendered = self.select(select, None)?;
                if is_volatile(select) && !correlated {
                    rendered.sql = format!("WITH m AS MATERIALIZED ({}) SELECT * FROM m", rendered.sql);
                }
                let sql = self.derived(
                    rendered,
                    *source,
                    correlated,
                    nullable,
                    self.secured != secured,
                    barrier,
                )?;
                if self.secured != secured {
                    barrier.hide();
                }
                Ok(sql)
            }
            FromItem::CommonTable { id, source } => {
                let common = self
                    .scope
                    .common
                    .get(id)
                    .cloned()
                    .ok_or_else(|| Error::internal(format!("WITH member {id} is not in scope")))?;
                let alias = self.alias();
                let rows = self.derived_source(&common.columns, &alias, nullable);
                self.scope.sources.insert(*source, Rc::new(rows));
                if !common.hides {
                    return Ok(format!("{} AS {alias}", common.name));
                }
                self.secured += 1;
                barrier.hide();
                Ok(format!("{} AS {alias}", fence(&common.name)))
            }
            FromItem::Function { function, args, source } => {
                let secured = self.secured;
                let correlated =
                    self.mentions_neighbours(|m| args.iter().try_for_each(|a| rewrite_expr(a, m).map(|_| ())))?;
                let rendered = self.function_rows(*function, args)?;
                if self.schema.function(*function).security_definer {
                    self.secured += 1;
                }
                let sql = self.derived(
                    rendered,
                    *source,
                    correlated,
                    nullable,
                    self.secured != secured,
                    barrier,
                )?;
                if self.secured != secured {
                    barrier.hide();
                }
                Ok(sql)
            }
            FromItem::Series {
                series,
                args,
                columns,
                source,
            } => self.series(*series, args, columns, *source, nullable, barrier),
            FromItem::Join { kind, left, right, on } => {
                self.join(*kind, left, right, on.as_ref(), nullable, inline, barrier)
            }
        }
    }

    #[allow(clippy::too_many_arguments, reason = "a join's parts and where it stands")]
    fn join(
        &mut self,
        kind: JoinKind,
        left: &FromItem,
        right: &FromItem,
        on: Option<&Expr>,
        nullable: bool,
        inline: bool,
        barrier: &mut Barrier,
    ) -> Result<String> {
        let (left_nullable, right_nullable) = match kind {
            JoinKind::Inner | JoinKind::Cross => (nullable, nullable),
            JoinKind::Left => (nullable, true),
            JoinKind::Right => (true, nullable),
            JoinKind::Full => (true, true),
        };
        // Security of the side that may be missing belongs to the join's own condition; where both may be, inside each.
        let inside = inline && kind != JoinKind::Full;
        let (mut left_side, mut right_side) = (Barrier::default(), Barrier::default());
        let l = self.from_item(left, left_nullable, inside, &mut left_side)?;
        let r = self.from_item(right, right_nullable, inside, &mut right_side)?;
        let r = if matches!(right, FromItem::Join { .. }) {
            format!("({r})")
        } else {
            r
        };
        let mut both = Barrier::default();
        let (left_conditions, right_conditions) = (both.absorb(left_side), both.absorb(right_side));
        let asked = match on {
            Some(on) => both.guarded(self.parts(on)?),
            None => Vec::new(),
        };
        barrier.absorb(both);
        // Security stands in front, and as near as it may: SQLite makes a subquery of a join in parentheses, and what it pushes into that
        // from outside it puts behind what is there, having taken it for granted in a guard.
        let (mut on, word) = match kind {
            JoinKind::Inner | JoinKind::Cross => ([left_conditions, right_conditions].concat(), "JOIN"),
            JoinKind::Left => {
                barrier.require(left_conditions);
                (right_conditions, "LEFT JOIN")
            }
            JoinKind::Right => {
                barrier.require(right_conditions);
                (left_conditions, "RIGHT JOIN")
            }
            JoinKind::Full => (Vec::new(), "FULL JOIN"),
        };
        on.extend(asked);
        let on = match on.len() {
            0 if matches!(kind, JoinKind::Inner | JoinKind::Cross) => String::new(),
            0 => " ON 1".to_owned(),
            _ => format!(" ON {}", on.join(" AND ")),
        };
        Ok(format!("{l} {word} {r}{on}"))
    }

    /// A table or an expanded view under an alias. `inline`: its security goes to `barrier`'s conditions; else it becomes a subquery.
    pub fn relation(
        &mut self,
        relation: &RelationRef,
        alias: &str,
        nullable: bool,
        inline: bool,
        barrier: &mut Barrier,
    ) -> Result<(String, RowSource)> {
        let definition = self.schema.relation(relation.relation);
        let mut stored = false;
        let (sql, rows) = match (&relation.expansion, definition.view()) {
            (None, None) => {
                stored = true;
                (
                    format!("{} AS {alias}", self.table(relation.relation)),
                    self.table_source(relation.relation, alias, nullable),
                )
            }
            (expansion, view) => {
                let select = match (expansion, view) {
                    (Some(select), _) => select.clone(),
                    (None, Some(view)) => view.select.clone(),
                    (None, None) => return Err(Error::internal("neither table nor view")),
                };
                let secured = self.secured;
                let mut rendered = self.scoped(Scope::default(), |r| r.select(&select, None))?;
                for (column, declared) in rendered.columns.iter_mut().zip(&definition.columns) {
                    column.name = declared.name.clone();
                }
                let mut sql = format!("({})", rendered.sql);
                if definition.view().is_some_and(|view| view.security_barrier) {
                    self.secured += 1;
                }
                if self.secured != secured {
                    barrier.hide();
                    sql = fence(&sql);
                }
                (
                    format!("{sql} AS {alias}"),
                    self.derived_source(&rendered.columns, alias, nullable),
                )
            }
        };
        let Some(security) = &relation.security else {
            return Ok((sql, rows));
        };
        self.secured += 1;
        let rows = Rc::new(rows);
        let condition = self.security(security, &rows)?;
        if inline && (stored || !nullable) {
            // A row that an outer join did not find has no policy to pass.
            let guard = if nullable {
                format!("({alias}.{} IS NULL OR {condition})", rowid_name(definition))
            } else {
                condition.clone()
            };
            self.guards.push(guard.clone());
            barrier.secure(condition, guard);
            return Ok((sql, Rc::unwrap_or_clone(rows)));
        }
        // The columns keep their names through the subquery.
        barrier.hide();
        let columns = rows
            .columns
            .iter()
            .enumerate()
            .map(|(at, c)| format!("{} AS c{at}", c.sql))
            .collect::<Vec<_>>();
        let inner = fence(&format!("(SELECT {} FROM {sql} WHERE {condition})", columns.join(", ")));
        let outer = self.alias();
        let columns: Vec<SourceColumn> = rows
            .columns
            .iter()
            .enumerate()
            .map(|(at, c)| SourceColumn {
                sql: format!("c{at}"),
                ..c.clone()
            })
            .collect();
        Ok((
            format!("{inner} AS {outer}"),
            self.derived_source(&columns, &outer, nullable),
        ))
    }

    /// A policy's or filter's condition on the row of a source.
    pub fn security(&mut self, condition: &Expr, rows: &Rc<RowSource>) -> Result<String> {
        let scope = Scope {
            sources: HashMap::from([(SourceId::SELF, rows.clone())]),
            ..Scope::default()
        };
        self.scoped(scope, |r| r.condition(condition))
    }

    /// What a source of rows is computed from, which its neighbours have: only of those that may be seen.
    fn of_seen(&mut self, sql: String, barrier: &mut Barrier) -> String {
        // The text is looked at alone: what it names of its neighbours may be computed by what can fail.
        barrier.expect_failure();
        match self.guards.is_empty() {
            true => sql,
            false => format!("CASE WHEN {} THEN {sql} END", self.guards.join(" AND ")),
        }
    }

    /// A subquery under an alias. One that refers to its neighbours goes through a JSON array, since SQLite lets a table-valued
    /// function do what it does not let a subquery.
    fn derived(
        &mut self,
        rendered: RenderedSelect,
        source: SourceId,
        correlated: bool,
        nullable: bool,
        hides: bool,
        barrier: &mut Barrier,
    ) -> Result<String> {
        let alias = self.alias();
        if !correlated {
            let rows = self.derived_source(&rendered.columns, &alias, nullable);
            self.scope.sources.insert(source, Rc::new(rows));
            let sql = format!("({})", rendered.sql);
            return Ok(format!("{} AS {alias}", if hides { fence(&sql) } else { sql }));
        }
        let is_blob = |c: &SourceColumn| c.form == Form::Wide || c.ty == Type::Bytea;
        let packed = rendered
            .columns
            .iter()
            .map(|c| match &c.ty {
                _ if is_blob(c) => format!("hex({})", c.sql),
                // SQLite writes fewer digits of a REAL than it has.
                Type::Float4 | Type::Float8 => format!("mainstay_cast({}, 'float8', 'text')", c.sql),
                _ => c.sql.clone(),
            })
            .collect::<Vec<_>>();
        let columns = rendered
            .columns
            .iter()
            .enumerate()
            .map(|(at, c)| {
                let value = format!("json_extract({alias}.value, '$[{at}]')");
                let sql = match &c.ty {
                    // hex(NULL) is the empty text.
                    _ if c.form == Form::Wide => format!("nullif(unhex({value}), X'')"),
                    Type::Bytea => format!("unhex({value})"),
                    Type::Float4 | Type::Float8 => format!("mainstay_cast({value}, 'text', 'float8')"),
                    _ => value,
                };
                SourceColumn {
                    sql,
                    not_null: false,
                    ..c.clone()
                }
            })
            .collect();
        self.scope.sources.insert(
            source,
            Rc::new(RowSource {
                columns,
                nullable,
                outer: false,
            }),
        );
        let array = if packed.is_empty() {
            "json_array(1)".to_owned()
        } else {
            format!("json_array({})", packed.join(", "))
        };
        let rows = format!("(SELECT json_group_array({array}) FROM ({}))", rendered.sql);
        Ok(format!("json_each({}) AS {alias}", self.of_seen(rows, barrier)))
    }

    /// Whether a part refers to a source of the same FROM clause, which SQLite does not let a subquery do.
    fn mentions_neighbours(&self, walk: impl FnOnce(&mut dyn Rewrite) -> Result<()>) -> Result<bool> {
        struct Mentions<'s, 'a> {
            scope: &'s Scope<'a>,
            outside: &'s HashSet<SourceId>,
            found: bool,
        }
        impl Rewrite for Mentions<'_, '_> {
            fn source(&mut self, source: SourceId) -> SourceId {
                self.found |= self.scope.sources.contains_key(&source) && !self.outside.contains(&source);
                source
            }
        }
        let mut mentions = Mentions {
            scope: &self.scope,
            outside: &self.outside,
            found: false,
        };
        walk(&mut mentions)?;
        Ok(mentions.found)
    }

    /// The body of a function of the schema's own, as a query over its arguments.
    pub fn function_rows(&mut self, id: FunctionId, args: &[Expr]) -> Result<RenderedSelect> {
        let function = self.schema.function(id);
        self.body_rows(id, &function.body, args)
    }

    /// A body (with its security) as a query over the function's arguments.
    pub fn body_rows(&mut self, id: FunctionId, body: &[Statement], args: &[Expr]) -> Result<RenderedSelect> {
        let function = self.schema.function(id);
        let [Statement::Select(select)] = body else {
            return Err(Error::unsupported(format!(
                "function {} has more than one query and cannot be part of an expression or FROM on SQLite",
                function.name
            ))
            .hint("Call it by itself, or make its body one SELECT."));
        };
        let arguments = self.arguments(args)?;
        let given: Vec<String> = arguments
            .iter()
            .filter_map(|argument| match argument {
                Argument::Term(term) if function.strict => Some(format!("{} IS NOT NULL", term.sql)),
                _ => None,
            })
            .collect();
        let scope = Scope {
            arguments: Some(Rc::new(arguments)),
            ..Scope::default()
        };
        let mut rendered = self.scoped(scope, |r| r.select(select, None))?;
        if !given.is_empty() {
            rendered.sql = format!("SELECT * FROM ({}) WHERE {}", rendered.sql, given.join(" AND "));
        }
        let declared: Option<Vec<Arc<str>>> = match &function.returns {
            Returns::Row(relation) | Returns::SetOfRow(relation) => Some(
                self.schema
                    .relation(*relation)
                    .columns
                    .iter()
                    .map(|c| c.name.clone())
                    .collect(),
            ),
            Returns::Table(columns) | Returns::Record(columns) => {
                Some(columns.iter().map(|(name, _)| name.clone()).collect())
            }
            Returns::Scalar(_) | Returns::SetOfScalar(_) => Some(vec![function.name.clone()]),
            Returns::Void => None,
        };
        if let Some(declared) = declared {
            for (column, name) in rendered.columns.iter_mut().zip(declared) {
                column.name = name;
            }
        }
        if !function.returns.is_set() {
            // One row, of NULLs where the body finds none.
            rendered.sql = format!(
                "SELECT found.* FROM (SELECT 1) LEFT JOIN (SELECT * FROM ({}) LIMIT 1) AS found",
                rendered.sql
            );
        }
        Ok(rendered)
    }

    /// Arguments as terms; a whole row stays a row, so that the body can name its columns.
    pub fn arguments(&mut self, args: &[Expr]) -> Result<Vec<Argument>> {
        let mut out = Vec::with_capacity(args.len());
        for arg in args {
            out.push(match &arg.kind {
                mainstay_model::ExprKind::WholeRow(source) => {
                    let rows = self
                        .scope
                        .sources
                        .get(source)
                        .cloned()
                        .ok_or_else(|| Error::internal(format!("source {} is not in scope", source.0)))?;
                    Argument::Row(rows)
                }
                _ => Argument::Term(self.expr(arg)?),
            });
        }
        Ok(out)
    }

    /// A set-returning built-in, as `json_each` over an array: it may refer to its neighbours.
    fn series(
        &mut self,
        series: Series,
        args: &[Expr],
        columns: &[(Arc<str>, Type)],
        source: SourceId,
        nullable: bool,
        barrier: &mut Barrier,
    ) -> Result<String> {
        let alias = self.alias();
        let value = format!("{alias}.value");
        let arg = |at: usize| {
            args.get(at)
                .ok_or_else(|| Error::internal(format!("{series:?} lacks an argument")))
        };
        let kind = |arg: &Expr| if arg.ty == Type::Jsonb { "jsonb" } else { "json" };
        let mut terms: Vec<Term> = Vec::new();
        let json = match series {
            Series::Unnest => {
                if args.len() != 1 {
                    return Err(Error::unsupported(
                        "unnest of several arrays is not supported by SQLite",
                    ));
                }
                let array = arg(0)?;
                let sql = self.condition(array)?;
                let element = match &array.ty {
                    Type::Array(element) => (**element).clone(),
                    _ => Type::Text,
                };
                let (from, term) = self.array_elements(&sql, &element, &value);
                terms.push(term);
                from
            }
            Series::GenerateSeries => {
                let first = arg(0)?;
                let mut parts = Vec::new();
                let kind = match &first.ty {
                    ty if ty.is_integer() => "int",
                    Type::Numeric(_) => "numeric",
                    Type::Timestamp | Type::TimestampTz => "timestamp",
                    Type::Date => "date",
                    other => {
                        return Err(Error::unsupported(format!(
                            "generate_series of {other} is not supported by SQLite"
                        )));
                    }
                };
                for arg in args {
                    let term = self.number(arg)?;
                    parts.push(if kind == "numeric" {
                        self.to_wide(term).sql
                    } else {
                        term.sql
                    });
                }
                terms.push(match kind {
                    "numeric" => Term::wide(format!("mainstay_cast({value}, 'text', 'numeric@w')")),
                    _ => Term::plain(value.clone()),
                });
                format!("mainstay_series_{kind}({})", parts.join(", "))
            }
            Series::JsonArrayElements => {
                let sql = self.condition(arg(0)?)?;
                terms.push(Term::plain(value.clone()));
                format!("mainstay_json_elements({sql}, '{}')", kind(arg(0)?))
            }
            Series::JsonArrayElementsText => {
                let sql = self.condition(arg(0)?)?;
                terms.push(Term::plain(value.clone()));
                format!("mainstay_json_elements_text({sql}, '{}')", kind(arg(0)?))
            }
            Series::JsonObjectKeys => {
                let sql = self.condition(arg(0)?)?;
                terms.push(Term::plain(value.clone()));
                format!("mainstay_json_keys({sql}, '{}')", kind(arg(0)?))
            }
            Series::JsonEach | Series::JsonEachText => {
                let sql = self.condition(arg(0)?)?;
                terms.push(Term::plain(format!("json_extract({value}, '$[0]')")));
                terms.push(Term::plain(format!("json_extract({value}, '$[1]')")));
                let text = if series == Series::JsonEachText { "_text" } else { "" };
                format!("mainstay_json_each{text}({sql}, '{}')", kind(arg(0)?))
            }
        };
        // One column more than the function has is WITH ORDINALITY.
        if columns.len() == terms.len() + 1 {
            terms.push(Term::plain(format!("({alias}.key + 1)")));
        }
        let columns = columns
            .iter()
            .zip(terms)
            .map(|((name, ty), term)| SourceColumn {
                name: name.clone(),
                sql: term.sql,
                ty: ty.clone(),
                form: if term.form == Form::Plain {
                    Form::Plain
                } else {
                    term.form
                },
                digits: match term.form {
                    Form::Scaled(_) => column_digits(ty),
                    _ => 0,
                },
                not_null: false,
                fallible: false,
            })
            .collect();
        self.scope.sources.insert(
            source,
            Rc::new(RowSource {
                columns,
                nullable,
                outer: false,
            }),
        );
        let correlated = self.mentions_neighbours(|m| args.iter().try_for_each(|a| rewrite_expr(a, m).map(|_| ())))?;
        let json = if correlated { self.of_seen(json, barrier) } else { json };
        Ok(format!("json_each({json}) AS {alias}"))
    }
}

/// The columns of a temporary table that holds a function's result.
pub(super) fn temporary_columns(columns: &[super::OutputColumn], alias: &str) -> RowSource {
    RowSource {
        columns: columns
            .iter()
            .enumerate()
            .map(|(at, c)| SourceColumn {
                name: c.name.clone(),
                sql: format!("{alias}.c{at}"),
                ty: c.ty.clone(),
                form: c.form,
                digits: if column_form(&c.ty) == c.form {
                    column_digits(&c.ty)
                } else {
                    19
                },
                not_null: false,
                fallible: false,
            })
            .collect(),
        nullable: false,
        outer: false,
    }
}
