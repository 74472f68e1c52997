//! How `find_orders` reads its query
//!
//! It has the hole that many a tool for queries has, so that the demo can show what comes of it: after a `;` another
//! statement begins, and not every statement is a search.

use super::{
    money::{Amount, Cents},
    stock::Order,
};

/// One statement of a query
#[derive(Debug)]
pub(super) enum Statement {
    /// The orders that have all of these words
    Find(Vec<String>),
    /// This order is paid back
    Refund(String, Cents),
}

impl Statement {
    /// The statements of a query, in order
    pub(super) fn all(query: &str) -> Result<Vec<Self>, String> {
        if query.len() > QUERY_BYTES_MAX {
            return Err(format!("A query has at most {QUERY_BYTES_MAX} bytes."));
        }
        query.split(';').map(Self::read).collect()
    }

    fn read(statement: &str) -> Result<Self, String> {
        let words: Vec<&str> = statement.split_whitespace().collect();
        match words.as_slice() {
            ["refund", order, amount] => {
                let read = serde_json::from_str::<Amount>(amount).map_err(|_| format!("{amount} is not an amount"))?;
                Ok(Self::Refund((*order).to_owned(), read.cents()?))
            }
            words => Ok(Self::Find(words.iter().map(|word| word.to_lowercase()).collect())),
        }
    }
}

/// Whether an order has all of these words
pub(super) fn has(order: &Order, words: &[String]) -> bool {
    let paid = if order.paid { "paid" } else { "due" };
    let texts = [order.id.as_str(), &order.customer.name, &order.customer.email].into_iter();
    let texts: Vec<&str> = texts.chain(order.items.iter().map(|item| item.name.as_str())).collect();
    let texts = texts.join(" ").to_lowercase();
    words.iter().all(|word| word == paid || texts.contains(word.as_str()))
}

const QUERY_BYTES_MAX: usize = 500;
