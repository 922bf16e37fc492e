/* help.c: help, shell completion and the manual page, all from the command table. */
#include "cli/cli.h"

#include <string.h>

static Str noun_of(const Command *row)
{
    Str noun, verb;
    str_cut(str_from_c(row->words), ' ', &noun, &verb);
    return noun;
}

static bool first_of_noun(const Command *row)
{
    Str noun = noun_of(row);
    for (const Command *const *table = COMMAND_TABLES; *table != NULL; table++)
        for (const Command *other = *table; other->words != NULL; other++)
            if (str_eq(noun_of(other), noun))
                return other == row;
    return false;
}

/* "create, list, get": the verbs of a noun, or the summary of a command without one. */
static void verbs_of(FILE *out, Str noun)
{
    const char *between = "";
    for (const Command *const *table = COMMAND_TABLES; *table != NULL; table++) {
        for (const Command *row = *table; row->words != NULL; row++) {
            if (!str_eq(noun_of(row), noun))
                continue;
            const char *verb = strchr(row->words, ' ');
            fprintf(out, "%s%s", between, verb == NULL ? row->summary : verb + 1);
            between = ", ";
        }
    }
}

void help_overview(FILE *out)
{
    fputs("reeve: keys, models, budgets and bills behind your AI traffic\n\n"
          "usage: reeve NOUN VERB [ARGUMENTS] [OPTIONS]\n\n",
        out);
    for (const Command *const *table = COMMAND_TABLES; *table != NULL; table++) {
        for (const Command *row = *table; row->words != NULL; row++) {
            if (!first_of_noun(row))
                continue;
            fprintf(out, "  %-18.*s", STR_ARG(noun_of(row)));
            verbs_of(out, noun_of(row));
            fputc('\n', out);
        }
    }
    fputs("\nreeve help NOUN          the commands of a noun\n"
          "reeve help NOUN VERB     one command, with an example\n"
          "reeve completion bash    completions for bash, zsh or fish\n\n"
          "Begin with: reeve context add local --url https://127.0.0.1:8443 --token-file FILE\n",
        out);
}

/* "secret rotate SECRET": the words and what they take. */
static void call_of(FILE *out, const Command *row)
{
    fprintf(out, "reeve %s%s%s", row->words, row->arguments == NULL ? "" : " ",
        row->arguments == NULL ? "" : row->arguments);
}

void help_noun(FILE *out, Str noun)
{
    fprintf(out, "commands of " STR_FMT ":\n\n", STR_ARG(noun));
    for (const Command *const *table = COMMAND_TABLES; *table != NULL; table++) {
        for (const Command *row = *table; row->words != NULL; row++) {
            if (!str_eq(noun_of(row), noun))
                continue;
            fputs("  ", out);
            call_of(out, row);
            fprintf(out, "\n      %s\n", row->summary);
        }
    }
    fprintf(out, "\nreeve help " STR_FMT " VERB says more\n", STR_ARG(noun));
}

void help_usage(FILE *out, const Command *command)
{
    fputs("usage: ", out);
    call_of(out, command);
    for (const Option *option = command->options; option != NULL && option->name != NULL; option++)
        if (option->required)
            fprintf(out, " --%s %s", option->name, option->arg);
    fputs(" [OPTIONS]\n", out);
}

void help_command(FILE *out, const Command *command)
{
    help_usage(out, command);
    fprintf(out, "\n%s.\n", command->summary);
    if (command->example != NULL)
        fprintf(out, "\nexample:\n  %s\n", command->example);
    if (command->options != NULL && command->options[0].name != NULL)
        fputs("\noptions:\n", out);
    for (const Option *option = command->options; option != NULL && option->name != NULL; option++) {
        char left[64];
        snprintf(left, sizeof(left), "--%s%s%s", option->name, option->arg == NULL ? "" : " ",
            option->arg == NULL ? "" : option->arg);
        fprintf(out, "  %-30s %s%s\n", left, option->doc, option->required ? " (required)" : "");
    }
    fputs("\noptions of every command:\n"
          "  -c, --context NAME   -p, --project PROJECT   --organization ORG\n"
          "  -o, --output table|json|jsonl|yaml|csv       --columns LIST\n"
          "  -n, --dry-run        --curl                  -y, --yes   --no-input   -q, --quiet\n"
          "  --url URL            --token-file FILE       --ca-file FILE   --root-hash HASH\n"
          "\nexit codes: 0 done, 1 failed, 2 a difference was found, 64 wrong usage, 69 unreachable, 75 try again, 77 "
          "denied\n",
        out);
    if (command->method != NULL)
        fprintf(out, "stands for: %s %s\n", command->method, command->path);
}

static void fish_completion(FILE *out)
{
    for (const Command *const *table = COMMAND_TABLES; *table != NULL; table++)
        for (const Command *row = *table; row->words != NULL; row++)
            fprintf(out, "complete -c reeve -f -a '%s' -d '%s'\n", row->words, row->summary);
}

void help_completion(FILE *out, Str shell)
{
    if (str_eq(shell, STR("fish"))) {
        fish_completion(out);
        return;
    }
    if (str_eq(shell, STR("zsh")))
        fputs("autoload -U +X bashcompinit && bashcompinit\n", out);
    /* The words so far, as a prefix, against every command's words. */
    fputs("_reeve_commands='", out);
    for (const Command *const *table = COMMAND_TABLES; *table != NULL; table++)
        for (const Command *row = *table; row->words != NULL; row++)
            fprintf(out, "%s\n", row->words);
    fputs("'\n_reeve() {\n"
          "    local line=\"${COMP_WORDS[*]:1:COMP_CWORD-1}\" next\n"
          "    next=$(printf '%s' \"$_reeve_commands\" | awk -v p=\"$line\" '\n"
          "        { n = split(p, given, \" \"); split($0, row, \" \"); ok = 1\n"
          "          for (i = 1; i <= n; i++) if (given[i] != row[i]) ok = 0\n"
          "          if (ok && row[n + 1] != \"\") print row[n + 1] }' | sort -u)\n"
          "    COMPREPLY=($(compgen -W \"$next\" -- \"${COMP_WORDS[COMP_CWORD]}\"))\n"
          "}\ncomplete -F _reeve reeve\n",
        out);
}

static void manual_text(FILE *out, const char *text)
{
    for (; *text != '\0'; text++) {
        if (*text == '-' || *text == '\\')
            fputc('\\', out);
        fputc(*text, out);
    }
}

/* Words on lines of at most 70 bytes: troff's fill makes paragraphs of them again. */
static void manual_lines(FILE *out, const char *text, const char *end)
{
    size_t column = 0;
    for (Str rest = str_from_c(text), word; rest.len > 0;) {
        str_cut(rest, ' ', &word, &rest);
        if (column > 0 && column + word.len > 70) {
            fputc('\n', out);
            column = 0;
        }
        char part[128];
        snprintf(part, sizeof(part), "%s" STR_FMT, column > 0 ? " " : "", STR_ARG(word));
        manual_text(out, part);
        column += word.len + 1;
    }
    fprintf(out, "%s\n", end);
}

static void manual_option(FILE *out, const char *name, const char *arg, const char *doc, bool required)
{
    fputs(".TP\n.B \\-\\-", out);
    manual_text(out, name);
    if (arg != NULL)
        fprintf(out, " \\fI%s\\fR", arg);
    fputc('\n', out);
    manual_lines(out, doc, required ? " (required)." : ".");
}

static void manual_command(FILE *out, const Command *row)
{
    fputs(".SS reeve ", out);
    manual_text(out, row->words);
    if (row->arguments != NULL)
        fprintf(out, " %s", row->arguments);
    fputc('\n', out);
    manual_lines(out, row->summary, ".");
    for (const Option *option = row->options; option != NULL && option->name != NULL; option++)
        manual_option(out, option->name, option->arg, option->doc, option->required);
}

void help_manual(FILE *out)
{
    fputs(".TH REEVE 1 2026-11-20 \"reeve " REEVE_VERSION
          "\"\n.SH NAME\nreeve \\- keys, models, budgets and bills behind AI traffic\n"
          ".SH SYNOPSIS\n.B reeve\nNOUN VERB [ARGUMENTS] [OPTIONS]\n.SH COMMANDS\n",
        out);
    for (const Command *const *table = COMMAND_TABLES; *table != NULL; table++)
        for (const Command *row = *table; row->words != NULL; row++)
            manual_command(out, row);
    fputs(".SH EXIT STATUS\n0 done, 1 failed, 2 a difference was found, 64 wrong usage,\n"
          "69 unreachable, 75 try again, 77 denied\n",
        out);
}
