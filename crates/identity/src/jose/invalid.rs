//! Why a token is not good.

/// Declares the refusals, each with its stable word
macro_rules! refusals {
    ($($(#[$doc:meta])* $variant:ident = $word:literal, $text:literal;)*) => {
        /// Why a token is not good; nothing of the token stands in it
        #[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
        #[non_exhaustive]
        pub enum Invalid {
            $($(#[$doc])* #[error($text)] $variant,)*
        }

        impl Invalid {
            /// The word that stands for it in records and answers, and never changes
            #[must_use]
            pub fn word(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)*
                }
            }

            /// All of them, for tests and documentation
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];
        }
    };
}

refusals! {
    /// More than 8 KiB
    TooLong = "token_too_long", "the token is longer than 8 KiB";
    /// Not three parts of base64url as RFC 7515 has it
    Form = "token_form", "the token is not three parts of base64url without padding";
    /// A JWE
    Encrypted = "token_encrypted", "the token is encrypted; only signed ones are taken";
    /// A token in a token, or content that is no claims
    Nested = "token_nested", "the token says that it holds something other than claims (cty)";
    /// The header is no strict JSON object
    HeaderForm = "header_form", "the token's header is not a JSON object of the form that RFC 7515 asks for";
    /// The header has a member twice
    HeaderTwice = "header_twice", "the token's header has a member twice";
    /// The header has a member that has no place there
    HeaderMember = "header_member", "the token's header has a member that this kind of token must not have";
    /// `crit`
    Critical = "header_critical", "the token's header asks for extensions (crit); none are supported";
    /// `b64`
    Unencoded = "header_unencoded", "the token's header speaks of an unencoded payload (b64)";
    /// `jwk`, `jku`, `x5u`, `x5c`
    KeyBrought = "key_brought", "the token brings or points to a key of its own (jwk, jku, x5c or x5u)";
    /// No `alg`
    AlgorithmMissing = "alg_missing", "the token does not say what it is signed with (alg)";
    /// `none`
    AlgorithmNone = "alg_none", "the token is not signed (alg is none)";
    /// `HS256` and the like
    AlgorithmSymmetric = "alg_symmetric", "the token is signed with a shared secret; a public key has to verify it";
    /// One that is not supported
    AlgorithmUnsupported = "alg_unsupported",
        "the token's algorithm is not supported; use RS256 to RS512, PS256 to PS512, ES256, ES384 or EdDSA";
    /// One that is not allowed here
    AlgorithmNotAllowed = "alg_not_allowed", "the token's algorithm is not one that this issuer may use";
    /// One that does not go with the key
    AlgorithmKey = "alg_not_of_key", "the token's algorithm is not that of the key that it names";
    /// Another type, or none
    Type = "typ_wrong", "the token is of another type, or of none (typ)";
    /// No `kid` where one is needed
    KeyUnnamed = "key_unnamed", "the token does not name its key (kid)";
    /// No key of this name
    KeyUnknown = "key_unknown", "the token is signed with a key that is not known";
    /// Several keys of this name, or too many that could be it
    KeyAmbiguous = "key_ambiguous", "several keys could be the one that the token is signed with";
    /// The key is not for signatures
    KeyUse = "key_use", "the key is not one for verifying signatures (use or key_ops)";
    /// The key is not well formed
    KeyForm = "key_form", "the key is not a public key as RFC 7518 writes it";
    /// The key is too weak
    KeyWeak = "key_weak", "the key is too weak; RSA keys have 2048 to 8192 bits and an odd exponent from 65537";
    /// The key is secret
    KeySecret = "key_secret", "the key comes with its secret part";
    /// P-521, secp256k1, Ed448 and the like
    KeyUnsupported = "key_unsupported", "the key is of a kind that is not supported; use RSA, P-256, P-384 or Ed25519";
    /// The signature does not fit
    Signature = "signature_wrong", "the signature is not that of the key";
    /// The claims are no strict JSON object
    ClaimsForm = "claims_form", "the token's claims are not a JSON object";
    /// The claims have a member twice
    ClaimsTwice = "claims_twice", "the token has a claim twice";
    /// No `exp`
    ExpiryMissing = "exp_missing", "the token never ends (exp is missing)";
    /// A time that is no whole number of seconds
    TimeForm = "time_form", "exp, nbf or iat is not a whole number of seconds in our era, or exp is before iat";
    /// Over
    Expired = "expired", "the token's time is over (exp)";
    /// Not yet
    NotYet = "not_yet", "the token's time has not come (nbf)";
    /// Issued in the future
    Future = "iat_future", "the token was issued in the future (iat); compare the clocks";
    /// Lives too long
    Lifetime = "lifetime", "the token lives longer than is allowed (from iat to exp)";
    /// No `iss`
    IssuerMissing = "iss_missing", "the token does not say who issued it (iss)";
    /// Another issuer
    IssuerWrong = "iss_wrong", "the token was issued by somebody else (iss)";
    /// The issuer with or without a slash at its end
    IssuerSlash = "iss_slash", "the token's iss differs from the expected one by a slash at its end";
    /// No `aud`
    AudienceMissing = "aud_missing", "the token does not say whom it is meant for (aud)";
    /// Another audience
    AudienceWrong = "aud_wrong", "the token is meant for somebody else (aud)";
    /// Others beside us
    AudienceMany = "aud_many", "the token is meant for others too (aud has to be one string)";
    /// No `sub`
    SubjectMissing = "sub_missing", "the token does not say whom it is about (sub)";
    /// A subject that is none
    SubjectForm = "sub_form", "the token's sub is no text of 1 to 255 bytes without control characters";
    /// No `jti`, or none that is one
    IdMissing = "jti_missing", "the token has no jti of 1 to 255 bytes";
}
