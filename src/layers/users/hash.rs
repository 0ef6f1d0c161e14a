//! Password hashes in the formats of `htpasswd -B`, crypt(3) and argon2. Each is slow on purpose, and contains its salt
//! and its cost. Formats that can be guessed too fast are rejected with the reason.

use argon2::password_hash::phc::Output;
use argon2::{Algorithm, Argon2, Block, Params, PasswordHash, PasswordHasher, PasswordVerifier, Version};
use sha_crypt::ShaCrypt;

pub enum StoredHash {
    Bcrypt(String),
    ShaCrypt(sha_crypt::PasswordHash),
    Argon2(Box<PasswordHash>),
}

/// bcrypt at cost 16 takes about 4 seconds. Without the limit, a typo could make it minutes.
const MAX_BCRYPT_COST: u32 = 16;
const MAX_ROUNDS: u32 = 1_000_000;
const MAX_ARGON2_KIB: u32 = 256 << 10;
const MAX_ARGON2_PASSES: u32 = 32;
const MAX_ARGON2_LANES: u32 = 16;

impl StoredHash {
    /// Parses the text after the colon. The error names the format, never the text, which may be a plain password.
    pub fn parse(text: &str) -> Result<StoredHash, &'static str> {
        match text.split('$').nth(1) {
            Some("2y" | "2b" | "2a") => bcrypt_hash(text),
            Some("5") => sha_crypt_hash(text, 43),
            Some("6") => sha_crypt_hash(text, 86),
            Some("argon2id" | "argon2i" | "argon2d") => argon2_hash(text),
            Some("2x") => Err("this is bcrypt $2x$, which was computed wrongly before 2011"),
            Some("apr1" | "1") => Err("this is MD5, which can be guessed too fast"),
            Some("y" | "gy" | "7" | "sha1" | "md5" | "3") => Err("this kind of hash is not supported"),
            _ if text.starts_with("{SHA}") => Err("this is SHA-1 without salt, which can be guessed too fast"),
            _ if is_crypt(text) => Err("this may be DES, which can be guessed too fast and uses only 8 characters"),
            _ => Err("this is not the hash of a password; do not put the password itself here"),
        }
    }

    /// Returns whether this is the hash of the password. The time depends on the cost in the hash and not on the
    /// password. The hashes are compared in constant time.
    pub fn is_of(&self, password: &[u8]) -> bool {
        match self {
            StoredHash::Bcrypt(hash) => bcrypt::verify(password, hash).unwrap_or(false),
            StoredHash::ShaCrypt(hash) => ShaCrypt::default().verify_password(password, hash).is_ok(),
            StoredHash::Argon2(hash) => argon2_is_of(hash, password).unwrap_or(false),
        }
    }
}

/// Blocks of at least this size are returned to the system when they are freed. glibc keeps smaller blocks for the
/// thread that allocated them (mallopt(3), `M_MMAP_THRESHOLD`), and any worker can compute hashes. Memory that is not
/// touched uses no pages.
const RETURNED: usize = 33 << 20;

/// Does what `Argon2::verify_password` does, in memory that is returned to the system. `None` if the hash is incomplete
/// or there is no memory.
fn argon2_is_of(hash: &PasswordHash, password: &[u8]) -> Option<bool> {
    let (salt, expected) = (hash.salt.as_ref()?, hash.hash.as_ref()?);
    let algorithm = Algorithm::try_from(hash.algorithm.as_str()).ok()?;
    let version = hash.version.map(Version::try_from).transpose().ok()?.unwrap_or_default();
    let argon2 = Argon2::new(algorithm, version, Params::try_from(hash).ok()?);
    let count = argon2.params().block_count();
    let mut memory: Vec<Block> = Vec::new();
    memory.try_reserve_exact(count.max(RETURNED / Block::SIZE)).ok()?;
    memory.resize(count, Block::new());
    let mut found = [0; Output::MAX_LENGTH];
    let found = found.get_mut(..expected.len())?;
    argon2.hash_password_into_with_memory(password, salt, found, &mut memory[..]).ok()?;
    Some(Output::new(found).ok()? == *expected) // in constant time
}

/// Returns the Argon2id hash of a password, with 16 random bytes of salt and the cost that OWASP recommends: 19 MiB, 2
/// passes.
pub fn hash_of(password: &[u8]) -> std::io::Result<String> {
    let salt: [u8; 16] = crate::random::bytes()?;
    let hash = Argon2::default().hash_password_with_salt(password, &salt);
    hash.map(|hash: PasswordHash| hash.to_string()).map_err(std::io::Error::other)
}

fn bcrypt_hash(text: &str) -> Result<StoredHash, &'static str> {
    let parts: bcrypt::HashParts = text.parse().map_err(|_| "this is not a complete bcrypt hash")?;
    match (4..=MAX_BCRYPT_COST).contains(&parts.get_cost()) && text.len() == 60 {
        true => Ok(StoredHash::Bcrypt(text.to_owned())),
        false => Err("the cost of bcrypt must be 4 to 16"),
    }
}

fn sha_crypt_hash(text: &str, length: usize) -> Result<StoredHash, &'static str> {
    let broken = "this is not a complete SHA-crypt hash";
    let mut fields = text.split('$').skip(2).peekable();
    if let Some(rounds) = fields.next_if(|field| field.starts_with("rounds=")) {
        let rounds = rounds["rounds=".len()..].parse::<u32>().map_err(|_| broken)?;
        if !(1_000..=MAX_ROUNDS).contains(&rounds) {
            return Err("the rounds of SHA-crypt must be 1,000 to 1,000,000");
        }
    }
    let (Some(salt), Some(hash), None) = (fields.next(), fields.next(), fields.next()) else { return Err(broken) };
    if salt.is_empty() || salt.len() > 16 || !salt.bytes().chain(hash.bytes()).all(is_crypt_digit) {
        return Err(broken);
    }
    match hash.len() == length {
        true => sha_crypt::PasswordHash::new(text).map(StoredHash::ShaCrypt).map_err(|_| broken),
        false => Err(broken),
    }
}

fn argon2_hash(text: &str) -> Result<StoredHash, &'static str> {
    let broken = "this is not a complete argon2 hash";
    let hash = PasswordHash::new(text).map_err(|_| broken)?;
    let params = argon2::Params::try_from(&hash).map_err(|_| broken)?;
    if hash.salt.is_none() || hash.hash.is_none() {
        return Err(broken);
    }
    let is_bounded = params.m_cost() <= MAX_ARGON2_KIB
        && params.t_cost() <= MAX_ARGON2_PASSES
        && params.p_cost() <= MAX_ARGON2_LANES;
    match is_bounded {
        true => Ok(StoredHash::Argon2(Box::new(hash))),
        false => Err("argon2 can use at most 256 MiB, 32 passes and 16 lanes"),
    }
}

fn is_crypt(text: &str) -> bool {
    text.len() == 13 && text.bytes().all(is_crypt_digit)
}

fn is_crypt_digit(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'/')
}
