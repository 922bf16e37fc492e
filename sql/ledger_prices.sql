-- Price lists taken over into a book.

-- name: ledger_price_import_insert
-- roles: api
-- Records where rates came from.
insert into ledger.price_import (id, book, source, digest, report)
values (:import, :book, :source, :digest, :report::jsonb);

-- name: ledger_rates_insert
-- roles: api
-- Adds rates; -1 is no price from then on.
insert into ledger.rate (book, provider, model, meter, service_tier, above_input, valid_from, pico, import)
select :book, r.provider, r.model, r.meter, r.service_tier, r.above_input, r.valid_from, nullif(r.pico, -1), :import
  from unnest(:provider::text[], :model::text[], :meter::bigint[], :service_tier::text[], :above_input::bigint[],
           :valid_from::timestamptz[], :pico::bigint[])
       as r(provider, model, meter, service_tier, above_input, valid_from, pico);

-- name: ledger_aliases_put
-- roles: api
-- Adds other names of models; a name that meant another model means this one now.
insert into ledger.model_alias as m (book, provider, kind, pattern, model, rank)
select distinct on (a.provider, a.kind, a.pattern) :book, a.provider, a.kind, a.pattern, a.model, a.rank
  from unnest(:provider::text[], :kind::text[], :pattern::text[], :model::text[], :rank::bigint[])
       as a(provider, kind, pattern, model, rank)
 order by a.provider, a.kind, a.pattern, a.rank
    on conflict (book, provider, kind, pattern) do update set model = excluded.model, rank = excluded.rank;

-- name: ledger_price_book_touch
-- roles: api
-- Tells every rater that the book changed.
update ledger.price_book set revision = revision + 1 where name = :book;

-- name: ledger_price_books
-- roles: api
-- The books there are.
select b.name, b.kind, b.revision, count(r.*) as rates
  from ledger.price_book b
  left join ledger.rate r on r.book = b.name
 group by b.name order by b.name;

-- name: ledger_rates_page
-- roles: api
-- Rates of a book, of one provider or model or all.
select r.provider, r.model, m.name as meter, r.service_tier, r.above_input, r.valid_from, r.pico
  from ledger.rate r
  join ledger.meter m on m.code = r.meter
 where r.book = :book and (:provider::text is null or r.provider = :provider) and (:model::text is null or r.model = :model)
 order by r.provider, r.model, r.meter, r.service_tier, r.above_input, r.valid_from
 limit :limit;
