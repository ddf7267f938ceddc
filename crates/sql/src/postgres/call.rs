//! Calls of the schema's functions, with named arguments where arguments have names.

use super::name::quote_identifier;
use super::render::{Renderer, RowSource};
use mainstay_model::{Expr, FunctionId, Result, Type};

impl<'a> Renderer<'a> {
    /// A call as a row source under an alias.
    pub fn function_rows(&mut self, function: FunctionId, args: &[Expr], alias: &str) -> Result<(String, RowSource)> {
        let args = self.arguments(function, args)?;
        let (columns, one) = self.function_columns(function);
        let name = self.function(function);
        if let [(column, Type::Row(row))] = &*columns
            && **row == *"record"
        {
            // What its columns are is known when it has run: the row as one value.
            let from = format!("(SELECT {name}({args}) AS {}) AS {alias}", quote_identifier(column));
            return Ok((from, RowSource::new(alias, columns)));
        }
        let names = match columns.first() {
            Some((column, _)) if one => format!("({})", quote_identifier(column)),
            _ => String::new(),
        };
        Ok((
            format!("{name}({args}) AS {alias}{names}"),
            RowSource::new(alias, columns),
        ))
    }

    /// A call's arguments. One that is its own default is left out, so that the database's default counts.
    pub fn arguments(&mut self, function: FunctionId, args: &[Expr]) -> Result<String> {
        let declared = &self.schema.function(function).args;
        let is_default = |at: usize| {
            let default = declared.get(at).and_then(|d| d.default.as_ref());
            default.is_some_and(|default| *default == args[at])
        };
        // Behind a named argument only named ones may come.
        let named_from = declared.iter().rposition(|d| d.name.is_empty()).map_or(0, |at| at + 1);
        let mut given = args.len();
        while given > 0 && is_default(given - 1) {
            given -= 1;
        }
        let mut named = !self.definition;
        let mut parts = Vec::new();
        for (at, arg) in args.iter().enumerate().take(given) {
            if at >= named_from && is_default(at) {
                named = true;
                continue;
            }
            let value = self.expr(arg)?;
            let declared = declared.get(at);
            let variadic = if declared.is_some_and(|d| d.variadic) {
                "VARIADIC "
            } else {
                ""
            };
            parts.push(match declared {
                Some(d) if named && at >= named_from => format!("{variadic}{} => {value}", quote_identifier(&d.name)),
                _ => format!("{variadic}{value}"),
            });
        }
        Ok(parts.join(", "))
    }
}
