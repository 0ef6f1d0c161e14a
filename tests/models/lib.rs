//! Empty: see the tests `laws`, `orders` and `simulation`.
