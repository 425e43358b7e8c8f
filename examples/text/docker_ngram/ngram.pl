# A character n-gram language model with Witten-Bell smoothing, and a sample of what it would write.
# Plain Perl without modules beyond its own: a slim Debian has all of it.
use strict;
use warnings;
use Getopt::Long;

$| = 1;
my ($text_file, $into, $order, $sample_chars, $seed) = ('/opt/alice.txt', 'outputs', 5, 800, 20);
GetOptions(
    'text=s' => \$text_file, 'into=s' => \$into, 'order=i' => \$order,
    'sample-chars=i' => \$sample_chars, 'seed=i' => \$seed,
) or exit 2;
die "--order must be between 1 and 8\n" if $order < 1 || $order > 8;

my $text = read_text($text_file);
my $split = int(length($text) * 0.9);
my ($train, $held_out) = (substr($text, 0, $split), substr($text, $split));
my %seen = map { $_ => 1 } split //, $text;
my @alphabet = sort keys %seen;
printf "%d characters to learn from, %d held out, %d different ones\n",
    length $train, length $held_out, scalar @alphabet;

# $follow{history}{next} and $total{history}, for histories of 0 to order-1 characters.
my (%follow, %total);
my @bits;
for my $n (1 .. $order) {
    count_histories($n - 1);
    push @bits, bits_per_character($n);
    printf "order %d  histories %d  held_out_bits_per_character %.4f\n", $n, scalar keys %total, $bits[-1];
}

my $best = (sort { $bits[$a - 1] <=> $bits[$b - 1] } 1 .. $order)[0];
srand $seed;
my $sample = write_sample($best, $sample_chars);
save("$into/sample.txt", "$sample\n");
save("$into/metrics.json", metrics());
print "order $best is best; it would write:\n$sample\nsaved $into/sample.txt and $into/metrics.json\n";

sub read_text {
    my ($path) = @_;
    open my $file, '<', $path or die "cannot read $path: $!\n";
    local $/;
    my $whole = <$file>;
    $whole =~ s/\s+/ /g;
    return $whole;
}

sub count_histories {
    my ($width) = @_;
    for my $at ($width .. length($train) - 1) {
        my $history = substr $train, $at - $width, $width;
        $follow{$history}{ substr $train, $at, 1 }++;
        $total{$history}++;
    }
}

# The chance of $next after $history: what was counted, blended with the same for a shorter history.
sub chance {
    my ($next, $history) = @_;
    my $shorter = $history eq '' ? 1 / @alphabet : chance($next, substr $history, 1);
    my $count = $total{$history} or return $shorter;
    my $kinds = keys %{ $follow{$history} };
    return (($follow{$history}{$next} // 0) + $kinds * $shorter) / ($count + $kinds);
}

sub bits_per_character {
    my ($n) = @_;
    my $bits = 0;
    for my $at ($n - 1 .. length($held_out) - 1) {
        $bits -= log(chance(substr($held_out, $at, 1), substr $held_out, $at - $n + 1, $n - 1)) / log 2;
    }
    return $bits / (length($held_out) - $n + 1);
}

sub write_sample {
    my ($n, $length) = @_;
    my $written = substr $train, 0, $n - 1;
    while (length $written < $length) {
        my $history = $n == 1 ? '' : substr $written, -($n - 1);
        my $left = rand;
        my $picked = $alphabet[-1];
        for my $next (@alphabet) {
            $left -= chance($next, $history);
            if ($left < 0) { $picked = $next; last }
        }
        $written .= $picked;
    }
    return $written;
}

sub metrics {
    my $orders = join ', ', map { sprintf '"%d": %.4f', $_, $bits[$_ - 1] } 1 .. $order;
    return sprintf <<'JSON', $bits[$best - 1], $best, $orders, length $train;
{
  "bits_per_character": %.4f,
  "best_order": %d,
  "bits_per_character_by_order": {%s},
  "training_characters": %d
}
JSON
}

sub save {
    my ($path, $content) = @_;
    open my $file, '>', $path or die "cannot write $path: $!\n";
    print {$file} $content;
    close $file or die "cannot write $path: $!\n";
}
