//! The rows that a statement of a function would write, as a query: PostgreSQL asks the policies of a row before its constraints, and of one
//! that `ON CONFLICT DO NOTHING` leaves out, too. Else whoever may not write a row would be told which keys there are.

use mainstay_model::{
    ColumnRef, Expr, ExprKind, FromItem, Insert, IsTest, Projected, RelationId, Schema, Select, SourceId, Statement,
    Type, Update, Value,
};

/// What an INSERT's own query is called: no statement has so many sources.
const GIVEN: SourceId = SourceId(u32::MAX - 7);

/// A query that finds a row if policies refuse any that a statement would write.
pub(crate) fn refused(schema: &Schema, statement: &Statement) -> Option<Statement> {
    let (id, check, with, rows) = match statement {
        Statement::Insert(insert) => {
            let id = insert.relation.relation;
            (id, insert.check.as_ref()?, &insert.with, inserted(schema, insert))
        }
        Statement::Update(update) => {
            let id = update.relation.relation;
            (id, update.check.as_ref()?, &update.with, updated(schema, update))
        }
        Statement::Select(_) | Statement::Delete(_) => return None,
    };
    let refuses = ExprKind::Is {
        operand: Box::new((**check).clone()),
        test: IsTest::True,
        negated: true,
    };
    Some(Statement::Select(Box::new(Select {
        with: with.clone(),
        projection: vec![Projected {
            expr: Expr::literal(Value::Int(1), Type::Int4),
            name: "refused".into(),
        }],
        from: vec![derived(generated(schema, id, rows), SourceId::SELF)],
        filter: Some(Expr::condition(refuses)),
        limit: Some(Expr::literal(Value::Int(1), Type::Int8)),
        ..Select::default()
    })))
}

fn derived(select: Select, source: SourceId) -> FromItem {
    FromItem::Subquery {
        select: Box::new(select),
        source,
        lateral: false,
    }
}

/// A query that yields an expression for each column of a table.
fn over(schema: &Schema, id: RelationId, from: Vec<FromItem>, value: impl Fn(u32) -> Expr) -> Select {
    let columns = schema.relation(id).columns.iter().enumerate();
    Select {
        projection: columns
            .map(|(at, column)| Projected {
                expr: value(at as u32),
                name: column.name.clone(),
            })
            .collect(),
        from,
        ..Select::default()
    }
}

fn column(schema: &Schema, id: RelationId, source: SourceId, at: u32) -> Expr {
    Expr {
        kind: ExprKind::Column(ColumnRef { source, column: at }),
        ty: schema.relation(id).columns[at as usize].ty.clone(),
    }
}

/// A value as the column has it.
fn assigned(value: Expr, ty: &Type) -> Expr {
    match value.ty == *ty {
        true => value,
        false => Expr {
            kind: ExprKind::Cast(Box::new(value)),
            ty: ty.clone(),
        },
    }
}

fn inserted(schema: &Schema, insert: &Insert) -> Select {
    let id = insert.relation.relation;
    let from = insert
        .source
        .iter()
        .map(|source| derived(source.clone(), GIVEN))
        .collect();
    over(schema, id, from, |at| {
        let definition = &schema.relation(id).columns[at as usize];
        let ty = &definition.ty;
        let given = insert.columns.iter().position(|c| *c == at).zip(insert.source.as_ref());
        match (given, &definition.default) {
            (Some((place, source)), _) => {
                let projected = source.projection.get(place).map(|p| p.expr.ty.clone());
                let values = source
                    .values
                    .first()
                    .and_then(|row| row.get(place))
                    .map(|e| e.ty.clone());
                let value = Expr {
                    kind: ExprKind::Column(ColumnRef {
                        source: GIVEN,
                        column: place as u32,
                    }),
                    ty: values.or(projected).unwrap_or_else(|| ty.clone()),
                };
                assigned(value, ty)
            }
            (None, Some(default)) => assigned(default.clone(), ty),
            // Which number it would be given nobody can choose.
            (None, None) if definition.identity.is_some() => Expr::literal(Value::Int(1), ty.clone()),
            (None, None) => Expr::literal(Value::Null, ty.clone()),
        }
    })
}

fn updated(schema: &Schema, update: &Update) -> Select {
    let id = update.relation.relation;
    let own = FromItem::Relation {
        relation: update.relation.clone(),
        source: SourceId::SELF,
    };
    let from = std::iter::once(own).chain(update.from.iter().cloned()).collect();
    let rows = over(schema, id, from, |at| {
        let ty = &schema.relation(id).columns[at as usize].ty;
        match update.set.iter().find(|(c, _)| *c == at) {
            Some((_, value)) => assigned(value.clone(), ty),
            None => column(schema, id, SourceId::SELF, at),
        }
    });
    Select {
        filter: update.filter.clone(),
        ..rows
    }
}

/// The rows with what the table computes of them.
fn generated(schema: &Schema, id: RelationId, rows: Select) -> Select {
    let columns = &schema.relation(id).columns;
    if columns.iter().all(|c| c.generated.is_none()) {
        return rows;
    }
    over(schema, id, vec![derived(rows, SourceId::SELF)], |at| {
        match &columns[at as usize].generated {
            Some(value) => assigned(value.clone(), &columns[at as usize].ty),
            None => column(schema, id, SourceId::SELF, at),
        }
    })
}
