create table if not exists items (
    name text primary key,
    price numeric(10, 2) not null,
    count integer not null check (count >= 0)
);
insert into items values ('lamp', 19.90, 3), ('chair', 49.00, 0) on conflict do nothing;
