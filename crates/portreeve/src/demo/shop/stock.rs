//! What the shop knows: orders, and the refunds made so far

use std::{collections::BTreeMap, fmt::Display, path::Path};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::money::Cents;

/// One order
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(super) struct Order {
    /// Order number
    pub(super) id: String,
    /// Who ordered
    pub(super) customer: Customer,
    /// What was ordered
    pub(super) items: Vec<Item>,
    /// Sum of the items
    pub(super) total: Cents,
    /// Currency of all amounts
    pub(super) currency: String,
    /// Whether the customer has paid
    pub(super) paid: bool,
    /// What the customer wrote in the order form
    pub(super) remark: String,
}

/// A customer
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub(super) struct Customer {
    pub(super) name: String,
    pub(super) email: String,
}

/// One line of an order
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(super) struct Item {
    /// What it is
    pub(super) name: String,
    /// How many of it
    #[schemars(schema_with = "count")]
    pub(super) quantity: u32,
    /// Price of one
    pub(super) price: Cents,
}

/// The derived schema would name a Rust type as its `format`, which validators complain about
fn count(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "integer", "minimum": 1 })
}

/// A refund, as the books have it
#[derive(Debug, Serialize, Deserialize)]
struct Refund {
    order: String,
    cents: u32,
    cancelled: bool,
}

/// The shop's state
#[derive(Debug)]
pub(super) struct Stock {
    orders: BTreeMap<String, Order>,
    /// In the order of their ids: `re_1` stands first
    refunds: Vec<Refund>,
}

impl Stock {
    /// The order of this number
    pub(super) fn order(&self, id: &str) -> Result<&Order, String> {
        self.orders.get(id).ok_or_else(|| format!("There is no order {id}."))
    }

    /// All orders, by number
    pub(super) fn orders(&self) -> impl Iterator<Item = &Order> {
        self.orders.values()
    }

    /// What was paid back of an order
    pub(super) fn refunded(&self, order: &str) -> Cents {
        self.refunds
            .iter()
            .filter(|refund| refund.order == order && !refund.cancelled)
            .fold(Cents(0), |sum, refund| sum.plus(Cents(refund.cents)))
    }

    /// Pays back, and answers with the refund's id
    pub(super) fn refund(&mut self, order: &str, amount: Cents, note: &str) -> Result<String, String> {
        if note.len() > NOTE_BYTES_MAX {
            return Err(format!("A note has at most {NOTE_BYTES_MAX} bytes."));
        }
        let found = self.order(order)?;
        if !found.paid {
            return Err(format!("Order {order} is not paid: there is nothing to refund."));
        }
        let left = found.total.minus(self.refunded(order));
        if amount > left {
            return Err(format!("Order {order} has {left} EUR left to refund, not {amount}."));
        }
        if self.refunds.len() >= REFUNDS_MAX {
            return Err("The shop makes no more refunds today.".to_owned());
        }
        self.refunds.push(Refund { order: order.to_owned(), cents: amount.0, cancelled: false });
        Ok(format!("re_{}", self.refunds.len()))
    }

    /// Takes the refunds from the books, if there are any yet
    pub(super) fn read(&mut self, books: &Path) -> Result<(), String> {
        match std::fs::read(books) {
            Ok(text) => self.refunds = serde_json::from_slice(&text).map_err(|error| unreadable(&error))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(unreadable(&error)),
        }
        Ok(())
    }

    /// Writes the refunds into the books
    pub(super) fn write(&self, books: &Path) -> Result<(), String> {
        let text = serde_json::to_vec(&self.refunds).map_err(|error| unreadable(&error))?;
        std::fs::write(books, text).map_err(|error| unreadable(&error))
    }

    /// The order that this refund paid back
    pub(super) fn order_of(&self, refund: &str) -> Option<&str> {
        index(refund).and_then(|index| self.refunds.get(index)).map(|refund| refund.order.as_str())
    }

    /// Takes a refund back, and answers with its order and amount
    pub(super) fn cancel(&mut self, refund: &str) -> Result<(String, Cents), String> {
        let found = index(refund)
            .and_then(|index| self.refunds.get_mut(index))
            .ok_or_else(|| format!("There is no refund {refund}."))?;
        if found.cancelled {
            return Err(format!("Refund {refund} is cancelled already."));
        }
        found.cancelled = true;
        Ok((found.order.clone(), Cents(found.cents)))
    }

    /// All customers with the numbers of their orders, by name
    pub(super) fn customers(&self) -> Vec<(Customer, Vec<String>)> {
        let mut customers = BTreeMap::<&str, (Customer, Vec<String>)>::new();
        for order in self.orders.values() {
            let entry = customers.entry(&order.customer.name).or_insert_with(|| (order.customer.clone(), Vec::new()));
            entry.1.push(order.id.clone());
        }
        customers.into_values().collect()
    }
}

/// Where a refund of this id stands
fn index(refund: &str) -> Option<usize> {
    refund.strip_prefix("re_")?.parse::<usize>().ok()?.checked_sub(1)
}

fn unreadable(error: &dyn Display) -> String {
    format!("The shop's books cannot be used: {error}.")
}

impl Default for Stock {
    fn default() -> Self {
        let orders = [
            order(
                "ord_1001",
                ("Mara Jansen", "mara.jansen@example.org"),
                &[("Desk lamp", 1, 3990), ("Light bulb", 2, 505)],
                Payment::Received,
                "Please ring twice.",
            ),
            order(
                "ord_1002",
                ("Tomas Ruiz", "tomas.ruiz@example.com"),
                &[("Office chair", 1, 18_900)],
                Payment::Received,
                "",
            ),
            order(
                "ord_1003",
                ("Aiko Tanaka", "aiko.tanaka@example.net"),
                &[("Notebook", 4, 650)],
                Payment::Due,
                "Pays on delivery.",
            ),
            order(
                "ord_1004",
                ("Mara Jansen", "mara.jansen@example.org"),
                &[("Monitor arm", 1, 9490), ("Cable set", 1, 1210)],
                Payment::Received,
                "Same address as last time.",
            ),
        ];
        Self { orders: orders.into_iter().map(|order| (order.id.clone(), order)).collect(), refunds: Vec::new() }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Payment {
    Received,
    Due,
}

fn order(id: &str, customer: (&str, &str), items: &[(&str, u32, u32)], payment: Payment, remark: &str) -> Order {
    let (name, email) = customer;
    Order {
        id: id.to_owned(),
        customer: Customer { name: name.to_owned(), email: email.to_owned() },
        items: items
            .iter()
            .map(|&(name, quantity, price)| Item { name: name.to_owned(), quantity, price: Cents(price) })
            .collect(),
        total: items
            .iter()
            .fold(Cents(0), |sum, &(_, quantity, price)| sum.plus(Cents(quantity.saturating_mul(price)))),
        currency: "EUR".to_owned(),
        paid: payment == Payment::Received,
        remark: remark.to_owned(),
    }
}

const NOTE_BYTES_MAX: usize = 500;

/// Enough for a demo under load, and a bound on memory
const REFUNDS_MAX: usize = 100_000;
