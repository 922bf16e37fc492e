/* find.c: which row of the command tables the words mean, and what to say when they mean none. */
#include "cli/cli.h"

#include <stdio.h>
#include <string.h>

size_t command_word_count(const char *words)
{
    size_t count = 1;
    for (; *words != '\0'; words++)
        count += *words == ' ';
    return count;
}

/* Do the words of the row stand at the beginning of the given ones? */
static bool words_match(const char *words, char *const *given, size_t given_count)
{
    for (size_t i = 0; *words != '\0'; i++) {
        size_t len = strcspn(words, " ");
        if (i >= given_count || strlen(given[i]) != len || strncmp(words, given[i], len) != 0)
            return false;
        words += len + (words[len] == ' ');
    }
    return true;
}

/* The row with the most words that match. */
const Command *command_find(char *const *given, size_t given_count)
{
    const Command *best = NULL;
    for (const Command *const *table = COMMAND_TABLES; *table != NULL; table++)
        for (const Command *row = *table; row->words != NULL; row++)
            if (words_match(row->words, given, given_count) &&
                (best == NULL || command_word_count(row->words) > command_word_count(best->words)))
                best = row;
    return best;
}

/* How many single-character edits apart two words are (Levenshtein), up to 31 characters. */
static size_t distance(const char *a, const char *b)
{
    size_t la = strlen(a), lb = strlen(b), row[32];
    if (la > 31 || lb > 31)
        return 99;
    for (size_t j = 0; j <= lb; j++)
        row[j] = j;
    for (size_t i = 1; i <= la; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= lb; j++) {
            size_t above = row[j], best = diagonal + (a[i - 1] != b[j - 1]);
            best = above + 1 < best ? above + 1 : best;
            best = row[j - 1] + 1 < best ? row[j - 1] + 1 : best;
            diagonal = above;
            row[j] = best;
        }
    }
    return row[lb];
}

static bool has_noun(const Command *row, const char *noun)
{
    Str first, verb;
    str_cut(str_from_c(row->words), ' ', &first, &verb);
    return noun == NULL || str_eq(first, str_from_c(noun));
}

/* The command nearest to what was typed, of one noun or of all. */
static const char *nearest(const char *given, const char *noun)
{
    const char *best = NULL;
    size_t best_distance = 3;
    for (const Command *const *table = COMMAND_TABLES; *table != NULL; table++) {
        for (const Command *row = *table; row->words != NULL; row++) {
            if (has_noun(row, noun) && distance(given, row->words) < best_distance) {
                best = row->words;
                best_distance = distance(given, row->words);
            }
        }
    }
    return best;
}

/* A mistyped noun: the one nearest to it. */
static bool nearest_noun(Str given, Str *ret_noun)
{
    char word[32] = "", known[32];
    size_t best_distance = 3;
    if (given.len >= sizeof(word))
        return false;
    memcpy(word, given.ptr, given.len);
    for (const Command *const *table = COMMAND_TABLES; *table != NULL; table++) {
        for (const Command *row = *table; row->words != NULL; row++) {
            Str noun, verb;
            str_cut(str_from_c(row->words), ' ', &noun, &verb);
            snprintf(known, sizeof(known), STR_FMT, STR_ARG(noun));
            if (distance(word, known) < best_distance) {
                *ret_noun = noun;
                best_distance = distance(word, known);
            }
        }
    }
    return best_distance < 3;
}

bool command_has_noun(Str word)
{
    for (const Command *const *table = COMMAND_TABLES; *table != NULL; table++)
        for (const Command *row = *table; row->words != NULL; row++) {
            Str noun, verb;
            if (str_cut(str_from_c(row->words), ' ', &noun, &verb) && str_eq(noun, word))
                return true;
        }
    return false;
}

int command_none(size_t count, char *const *words)
{
    if (count == 0) {
        help_overview(stderr);
        return EXIT_USAGE;
    }
    char joined[128];
    Str noun;
    snprintf(joined, sizeof(joined), "%s%s%s", words[0], count > 1 ? " " : "", count > 1 ? words[1] : "");
    if (command_has_noun(str_from_c(words[0]))) {
        const char *meant = count > 1 ? nearest(joined, words[0]) : NULL;
        if (count > 1)
            fprintf(stderr, "reeve: there is no command \"%s\"\n", joined);
        if (meant != NULL)
            fprintf(stderr, "Did you mean: reeve %s\n", meant);
        else
            help_noun(stderr, str_from_c(words[0]));
        return EXIT_USAGE;
    }
    fprintf(stderr, "reeve: there is no command \"%s\"; reeve help lists them\n", words[0]);
    const char *meant = nearest(joined, NULL);
    if (meant != NULL)
        fprintf(stderr, "Did you mean: reeve %s\n", meant);
    else if (nearest_noun(str_from_c(words[0]), &noun))
        fprintf(stderr, "Did you mean: reeve " STR_FMT "\n", STR_ARG(noun));
    return EXIT_USAGE;
}
