//! Nothing: see the tests `laws`, `orders` and `simulation`.
