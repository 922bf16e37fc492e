/* Secrets: files that may hold one, the slab. */
#include "support/expect.h"

#include "crypto/secret.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static char path[] = "/tmp/reeve-secret-XXXXXX";

static void write_file(const char *text, size_t len, mode_t mode)
{
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, len, file), len);
    fclose(file);
    assert_int_equal(chmod(path, mode), 0);
}

TEST(secret_file_is_read_without_its_last_newline)
{
    _cleanup_(secret_release) Secret secret = { 0 };
    write_file("hunter2\n", 8, 0600);
    expect_ok(secret_from_file(str_from_c(path), 7, &secret));
    expect_str(bytes_str(secret_bytes(&secret)), STR("hunter2"));
}

TEST(secret_file_named_without_a_folder_is_a_credential_of_the_service)
{
    _cleanup_(secret_release) Secret secret = { 0 };
    char folder[] = "/tmp/reeve-credentials-XXXXXX", file[64];
    assert_non_null(mkdtemp(folder));
    snprintf(file, sizeof file, "%s/only.key", folder);
    int fd = open(file, O_WRONLY | O_CREAT | O_EXCL, 0600);
    assert_int_equal(8, write(fd, "hunter2\n", 8));
    close(fd);
    expect_err(secret_from_file(STR("only.key"), 64, &secret), "secret-file");
    setenv("CREDENTIALS_DIRECTORY", folder, 1);
    expect_ok(secret_from_file(STR("only.key"), 64, &secret));
    expect_str(bytes_str(secret_bytes(&secret)), STR("hunter2"));
    unsetenv("CREDENTIALS_DIRECTORY");
    unlink(file);
    rmdir(folder);
}

TEST(secret_file_open_to_others_is_refused)
{
    _cleanup_(secret_release) Secret secret = { 0 };
    static const mode_t open_modes[] = { 0644, 0604, 0640, 0620, 0602, 0777 };
    for (size_t i = 0; i < COUNT_OF(open_modes); i++) {
        write_file("hunter2\n", 8, open_modes[i]);
        expect_err(secret_from_file(str_from_c(path), 64, &secret), "secret-file-mode");
    }
}

TEST(secret_file_of_the_wrong_size_is_refused)
{
    _cleanup_(secret_release) Secret secret = { 0 };
    write_file("hunter2\n", 8, 0600);
    expect_err(secret_from_file(str_from_c(path), 6, &secret), "secret-file-size");
    write_file("\n", 1, 0600);
    expect_err(secret_from_file(str_from_c(path), 64, &secret), "secret-file-size");
    expect_err(secret_from_file(STR("/nonexistent/reeve"), 64, &secret), "secret-file");
    expect_err(secret_from_file(STR("/tmp"), 64, &secret), "secret-file");
    assert_null(secret.ptr);
}

TEST(slab_lends_its_slots_and_wipes_them)
{
    SecretSlab *slab = secret_slab_new(64, 2);
    uint8_t *a = secret_slab_take(slab), *b = secret_slab_take(slab);
    assert_non_null(a);
    assert_non_null(b);
    assert_null(secret_slab_take(slab));
    memset(a, 0xaa, 64);
    secret_slab_give(slab, a);
    uint8_t *again = secret_slab_take(slab);
    assert_ptr_equal(again, a);
    for (size_t i = 0; i < 64; i++)
        assert_int_equal(again[i], 0);
    secret_slab_give(slab, again);
    secret_slab_give(slab, b);
    secret_slab_free(&slab);
    assert_null(slab);
}

TEST(secrets_compare_by_bytes_and_length)
{
    assert_true(secret_eq(BYTES_OF("abc"), BYTES_OF("abc")));
    assert_false(secret_eq(BYTES_OF("abc"), BYTES_OF("abd")));
    assert_false(secret_eq(BYTES_OF("abc"), BYTES_OF("ab")));
    assert_true(secret_eq((Bytes){ 0 }, (Bytes){ 0 }));
}

int main(void)
{
    crypto_start();
    int fd = mkstemp(path);
    if (fd < 0)
        return 1;
    close(fd);
    const struct CMUnitTest tests[] = {
        RUN(secret_file_is_read_without_its_last_newline),
        RUN(secret_file_named_without_a_folder_is_a_credential_of_the_service),
        RUN(secret_file_open_to_others_is_refused),
        RUN(secret_file_of_the_wrong_size_is_refused),
        RUN(slab_lends_its_slots_and_wipes_them),
        RUN(secrets_compare_by_bytes_and_length),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    unlink(path);
    return failed;
}
