/* Digests, HMAC and HKDF against the vectors of their standards. */
#include "support/expect.h"

#include "base/encode.h"
#include "crypto/digest.h"

static Arena *arena;

static Bytes hex(const char *text)
{
    Bytes bytes;
    expect_ok(hex_decode(arena, str_from_c(text), &bytes));
    return bytes;
}

TEST(a_digest_is_sha256)
{
    Digest d = digest_of(str_bytes(STR("abc")));
    expect_str(
        hex_encode(arena, digest_bytes(&d)), STR("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"));
    assert_true(digest_eq(d, digest_of_two(str_bytes(STR("a")), str_bytes(STR("bc")))));
}

TEST(a_digest_reads_back_from_its_text)
{
    Digest d = digest_of(str_bytes(STR("abc"))), back;
    Str text = digest_text(arena, d);
    assert_int_equal(text.len, DIGEST_TEXT_LEN);
    expect_ok(digest_parse(text, &back));
    assert_true(digest_eq(d, back));
    expect_err(digest_parse(str_first(text, 42), &back), "bad-digest");
    expect_err(digest_parse(arena_fmt(arena, STR_FMT "=", STR_ARG(text)), &back), "bad-digest");
}

TEST(hmac_holds_the_vector_of_rfc_4231)
{
    Digest d = hmac_sha256(str_bytes(STR("Jefe")), str_bytes(STR("what do ya want for nothing?")));
    expect_str(
        hex_encode(arena, digest_bytes(&d)), STR("5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"));
}

typedef struct HkdfVector {
    const char *ikm, *salt, *info, *okm;
} HkdfVector;

/* RFC 5869, A.1 to A.3. */
static const HkdfVector hkdf_vectors[] = {
    { "0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b", "000102030405060708090a0b0c", "f0f1f2f3f4f5f6f7f8f9",
        "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865" },
    { "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f3031323334353637"
      "38393a3b3c3d3e3f404142434445464748494a4b4c4d4e4f",
        "606162636465666768696a6b6c6d6e6f707172737475767778797a7b7c7d7e7f808182838485868788898a8b8c8d8e8f90919293949596"
        "9798999a9b9c9d9e9fa0a1a2a3a4a5a6a7a8a9aaabacadaeaf",
        "b0b1b2b3b4b5b6b7b8b9babbbcbdbebfc0c1c2c3c4c5c6c7c8c9cacbcccdcecfd0d1d2d3d4d5d6d7d8d9dadbdcdddedfe0e1e2e3e4e5e6"
        "e7e8e9eaebecedeeeff0f1f2f3f4f5f6f7f8f9fafbfcfdfeff",
        "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb41c65e590e09da3275600c2f09"
        "b8367793a9aca3db71cc30c58179ec3e87c14c01d5c1f3434f1d87" },
    { "0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b", "", "",
        "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8" },
};

TEST(hkdf_holds_the_vectors_of_rfc_5869)
{
    for (size_t i = 0; i < COUNT_OF(hkdf_vectors); i++) {
        const HkdfVector *v = &hkdf_vectors[i];
        Bytes expected = hex(v->okm);
        uint8_t okm[255];
        hkdf_sha256(hex(v->ikm), hex(v->salt), hex(v->info), okm, expected.len);
        assert_memory_equal(expected.ptr, okm, expected.len);
        HkdfKey prk;
        hkdf_extract(hex(v->ikm), hex(v->salt), &prk);
        hkdf_expand(&prk, hex(v->info), okm, expected.len);
        assert_memory_equal(expected.ptr, okm, expected.len);
    }
}

int main(void)
{
    crypto_start();
    arena = arena_new();
    const struct CMUnitTest tests[] = {
        RUN(a_digest_is_sha256),
        RUN(a_digest_reads_back_from_its_text),
        RUN(hmac_holds_the_vector_of_rfc_4231),
        RUN(hkdf_holds_the_vectors_of_rfc_5869),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    arena_free(&arena);
    return failed;
}
