//! Page 15.
