//! Page 13.
